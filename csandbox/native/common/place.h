/* Placing a detached mount below a directory. */
#ifndef CSB_PLACE_H
#define CSB_PLACE_H

/* A detached clone of what lies at path, with the mounts below it; the
 * caller's to close.  0 or -errno.  Async-signal-safe, as is all here. */
int csb_place_clone(const char *path, int *ret_tree);

/* Makes the directories above target, a path below root that starts with
 * '/'.  Nobody else can reach that file system, so no link is in the way. */
int csb_place_parents(int root, const char *target);

/* Makes target, a directory or a file as tree is, and mounts tree on it;
 * its parents exist. */
int csb_place_attach(int root, int tree, const char *target);

/* A directory; no error if it exists. */
int csb_place_directory(int root, const char *target);

#endif
