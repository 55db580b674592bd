"""What every part of reslab stands on: errors, files, random numbers, the machine. No Keras."""
