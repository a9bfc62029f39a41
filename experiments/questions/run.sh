#!/usr/bin/env bash
# Four questions, three defences, one training each or SEEDS: experiments/questions/run.sh CIFAKE CAMERAS OUT [SEEDS] [QUESTION...]
# Writes the rows of these questions in results.csv, and their figures, here; of all four if none is named. CIFAKE has folders
# real/ and fake/, CAMERAS camera originals. Killed, it goes on where it was.
set -euo pipefail
cifake=$1 cameras=$2 out=$3 seeds=${4:-1}
questions=("${@:5}")
[ ${#questions[@]} -gt 0 ] || questions=(camera recapture generated real_cameras)

prepare() { [ -d "$out/$1/patches" ] || advforensics prepare store="$out/$1/patches" "${@:2}"; }

judge() { # question, epochs, images of a sweep, pictures of one (0: none), overrides of the training
  local question=$1 epochs=$2 images=$3 pictures=$4 store=$out/$1/patches
  for seed in $(seq "$seeds"); do for defense in baseline adversarial_fusion gradient_regularized; do
    local run=$out/$question/runs/$defense-$seed
    [ -f "$run/checkpoint.pt" ] || advforensics train store="$store" defense=$defense detector=deep \
      trainer.max_epochs="$epochs" seed="$seed" folder="$run" "${@:5}"
    [ -f "$run/sweep/metrics.json" ] || advforensics sweep checkpoint="$run/checkpoint.pt" store="$store" \
      images="$images" 'eps_levels=[0,0.25,0.5,1,2]' ensemble=quick
    [ "$pictures" = 0 ] || [ -f "$run/pictures/metrics.json" ] || advforensics sweep checkpoint="$run/checkpoint.pt" \
      store="$store" images="$pictures" patches_per_picture=8 'eps_levels=[0,0.5,1,2]' ensemble=quick '~ensemble.attacks.fmn'
  done; done
  advforensics report runs="$out/$question/runs" folder="$out/$question/report"
}

ask() { # question
  case $1 in
    camera | recapture)
      prepare "$1" experiment="$1"
      judge "$1" 8 256 60 ;;
    generated)
      prepare generated experiment=generated source.folder="$cifake" 'source.layout.classes={fake: generated}' \
        patches.size=32 patches.per_photograph=1
      judge generated 40 256 0 batch_size=32 ;;
    real_cameras)
      prepare real_cameras experiment=camera source=exif source.folder="$cameras" patches.per_photograph=96 \
        patches.min_photographs=1
      seeds=1 judge real_cameras 8 128 0 ;; # five test scenes conclude nothing, however often
  esac
}

here=$(dirname "$0")
for question in "${questions[@]}"; do
  ask "$question"
  # What every attack together leaves right, of patches and of whole pictures.
  sed -i "/^$question,/d" "$here/results.csv"
  for unit in curves pictures; do
    table=$out/$question/report/$unit.csv
    if [ -f "$table" ]; then sed -n "/,worst,any,[^,]*,accuracy,/s/^/$question,$unit,/p" "$table" >> "$here/results.csv"; fi
  done
  if [ "$question" != real_cameras ]; then cp "$out/$question/report/figures/robustness-linf-float.png" "$here/$question.png"; fi
  case $question in camera | recapture) # what is simulated is nobody's
    for figure in classes spectra; do cp "$out/$question/patches/figures/$figure.png" "$here/$question-$figure.png"; done ;;
  esac
done
