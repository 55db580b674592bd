"""Several networks trained with the same settings, with several seeds each, as one study."""
