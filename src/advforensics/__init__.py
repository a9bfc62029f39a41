"""How much can an image-forensic detector be trusted when somebody fights back?"""
