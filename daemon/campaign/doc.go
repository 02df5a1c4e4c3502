// Package campaign holds the tests that try for a long time to hurt a reader:
// real daemons and real readers, each a process of its own, while something bad
// is done to them. Each file is one promise of docs/RELIABILITY.md. All are
// short in `make test`, and as long as a flag says in `make campaign`.
package campaign
