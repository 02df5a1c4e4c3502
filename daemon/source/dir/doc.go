// Package dir is the source "dir:PATH": the files of a directory.
//
// # What is in a snapshot
//
//   - All regular files below PATH, by their slash-separated paths, however they
//     are named; Options.Wanted decides which of them are read. Sub-directories
//     nest at most 64 deep.
//   - Ignored, files and directories alike: names that begin with a dot, and what
//     editors and careful writers leave beside the file they replace: x~, #x#,
//     x.swp, x.swo, x.swx, 4913, x.tmp, x___jb_tmp___ and x___jb_old___; and
//     lost+found in PATH itself.
//   - A symlink may point at a regular file inside the source, by a relative target
//     that passes no other symlink. The target may have any name, also one that is
//     ignored. All other symlinks are refused: those that lead out of the source,
//     those to directories, and chains. PATH itself may contain any symlinks.
//   - Refused too: named pipes, sockets and devices, which are never opened, names
//     that are not UTF-8, and what exceeds a limit of Options, which is
//     told by stat before anything is read.
//
// The error of a Fetch names every bad file, up to 32. A source without any wanted
// file is ErrEmpty, since an empty directory is more often a mount that failed than a
// wish.
//
// # What is promised about files that change
//
// A file that is replaced by rename is read as the old or as the new one, always,
// and the hint comes at once if nothing happened in the 2 ms before, else about 2 ms
// later. This is the way to write configs; give the temporary file a leading dot.
//
// Directories that are swapped as a whole are read as one of them, never mixed, and
// never half deleted:
//
//   - A Kubernetes volume (ConfigMap, Secret, projected), at PATH or below: a
//     directory with a symlink ..data is read through the one directory that ..data
//     points to when the reading begins.
//   - git-sync, or any symlink in PATH that is replaced by rename: PATH is opened
//     once, and everything is read from there.
//   - A directory replaced by rename.
//
// In each case Fetch verifies at the end that the name still leads to what it read,
// and begins anew if it does not. This suffices because the old tree is deleted only
// after the swap.
//
// A file that is written in place is read when it has not been touched for
// Options.Quiet (50 ms), and when stat says the same before and after the reading.
// An empty one is waited for, and so is one that was there before and has only just
// been removed: many programs remove a file and then write it anew. If things do
// not come to rest within Options.MaxWait (500 ms), Fetch fails with ErrUnstable.
// A write shows its time when it begins, and is told when it ends. A file of whole
// pages of 4 KiB may be in the middle of one: it must be seen not to change for Quiet,
// which doubles the wait, and is the one file whose rename may take Quiet as well, where
// the clock is too coarse to tell the rename from the write.
//
// This cannot tell a finished file from one whose writer pauses for longer than
// Quiet, or from one of the same length in which a single long write has replaced
// only the first pages; and half a YAML file may be valid YAML. Rename is the safe
// way.
//
// While Git changes a work tree, which PATH may be, there is .git/index.lock, and nothing
// is read. One that is older than 30 s was left by a Git that died: Options.OnWatchError is
// told, and the tree is read.
//
// Files of a plain directory that are replaced one after the other are read as they
// are found: a snapshot may have the new first and the old second file. To have
// files change together, use one of the layouts above, or one file.
//
// Times are those of the file system. On a network file system whose clock is
// behind this machine's, files in place may be taken for older than they are.
//
// # What it costs
//
// A whole scan compares device, inode, size, mtime and ctime with what it knows, reads
// only what differs, and lists a directory only when its own times moved: one system
// call for each file. As in git, what was younger than two seconds when it was read
// is read again, as it might change once more under the same time. Every
// Options.ContentCheck (1 minute) all content is compared, for what changes without
// a trace in stat: a mapping written through, or a file system that lies. Files that
// are the same keep their *File, and a source that is the same its *Snapshot.
//
// A partial scan looks only at the names that events were about, in the same way, and
// takes the rest as the last scan found it. One changed file of 10,000 costs it some
// 2 ms of CPU, most of it for the snapshot's digest; a whole scan takes 40. A Fetch is
// partial when the caller has received a hint before it, and whole
//
//   - when no hint was received: at the caller's interval, and after Recheck;
//   - when the last whole scan is Options.Rescan (5 s) ago, or a content check is due;
//   - when the events do not tell everything: some were lost, there were more than
//     4,096 names, or something cannot be watched;
//   - when the tree itself changed: a directory was removed or renamed, a Kubernetes
//     volume was published, PATH or a symlink on the way to it leads elsewhere;
//   - when a file that changed has several names (hard links);
//   - when the last scan failed, or the partial one finds anything but good files. So
//     each error is that of a whole scan.
//
// What a partial scan misses, the next whole scan finds: a write through a hard link
// outside the source, a file system mounted inside it, a change that gave no event.
// That is after one interval, or, where a hint comes in each, after Options.Rescan.
// MaxFiles counts the ignored names as of the last listing.
//
// Memory is bounded by MaxTotal for the content, once; a change of a file takes its
// size again until the snapshot before is dropped.
//
// # Hints
//
// Hints come from inotify. Only latency depends on them, and not correctness. They
// come when events have settled: at once or 2 ms after a rename, Quiet after the last write or
// removal, MaxWait after the first event at the latest. A burst of thousands of
// changes gives a handful, and always one after its last change. Where inotify has
// no watch or no instance left, or loses events, Options.OnWatchError is told, and
// the caller's periodic Fetch finds the changes.
//
// Directories are watched whole, and for the sake of one name, too: the one that PATH
// is in, for PATH to be replaced, those of the symlinks on the way to it, and those that
// a symlink inside leads by to a file that is wanted. Other names there give no hint.
// But inotify cannot leave them out: constant writes there constantly wake the
// watcher's goroutine, but give no hints.
//
// An unmount ends watches, and fsnotify keeps it to itself. If the same file system
// comes back before the next Fetch, its hints come back with the next content check.
package dir
