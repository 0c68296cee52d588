"""Backup of a whole pilot while it serves, and restore, which is a rollback.

A rollback must bring nothing back to life: what was revoked since is taken from the newest
copy that can be read, the gateway starts locked, and a log that lost signed entries goes on
as a new one that names the old head. `take.take`, `restore.restore`; `swap.finish` ends what
a crash left half done.
"""
