"""What the pages say is tried: their commands, configurations, programs and tables."""
