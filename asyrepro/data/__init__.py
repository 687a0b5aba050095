STAND_IN = "bundled stand-in data"  # as reports and messages call it
