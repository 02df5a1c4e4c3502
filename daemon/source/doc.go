// Package source says what a source of configuration is: it yields whole snapshots,
// never single files, and never a mixture of two states.
//
// # What belongs where
//
// Here is what all kinds of sources share:
//
//   - [Source], [Snapshot], [File], [Options] and the errors that a caller tells apart.
//   - [Spec] and [Schemes], the grammar of --source.
//   - [Follow], which keeps the newest snapshot of one source, and spreads the looks of many
//     hosts at one server.
//   - [Ignored], the names that no source takes.
//
// Each kind of source is a package below this one, named after its scheme, and exports
// a [Scheme]. This package imports none of them; package daemon has the table. What a
// snapshot of a kind contains, and how it may change while it is read, is in the
// comment of its package:
//
//   - daemon/source/dir: a directory, "dir:PATH".
//   - daemon/source/git: a branch of a Git repository, "git:URL".
//   - daemon/source/bundle: a signed bundle on web servers, "bundle:URL".
//
// A source knows no formats and no layers: which files count as configs is
// Options.Wanted, and a prefix is added to the paths later on.
//
// # What every source promises
//
// A snapshot is all or nothing: one bad file makes Fetch fail, and the error names
// every bad file that was found, as a [FileError]. A source without any file that
// counts is [ErrEmpty], since an empty source is more often a mistake than a wish.
//
// Snapshots and files are immutable. Pointers can be compared to find what changed:
// an unchanged source returns the same *Snapshot, an unchanged file keeps its *File.
package source
