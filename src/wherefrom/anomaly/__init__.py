"""How natural is each of these generated images, which are broken, and which generator is best?"""
