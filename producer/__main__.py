"""``python -m producer`` is the command ``trawl``."""

from producer.cli import main

main()
