"""Configuration: what a file may say (``schema``), in which words (``types``), and how it is read and checked."""

from l4proxy.config.dump import dump
from l4proxy.config.load import load_file, load_mapping, load_text
from l4proxy.config.schema import Config

__all__ = ["Config", "dump", "load_file", "load_mapping", "load_text"]
