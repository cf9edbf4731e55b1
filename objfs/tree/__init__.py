"""Names: keys <-> paths, inode numbers, how long an answer is believed. Pure, all of it."""
