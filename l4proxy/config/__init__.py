"""Configuration: what a file may say (``schema``), how it is read and checked, and the words it is written in (``types``)."""
