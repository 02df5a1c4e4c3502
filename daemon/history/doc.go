// Package history is the daemon's memory: what was published, out of which files, what
// operators asked for, and which process asked. It is one bbolt file.
//
// # What it promises
//
//   - A record is whole. Record writes a publication's configs, the files behind them
//     and what changed in one transaction, on stable storage when it returns.
//   - What an operator asked for, the intent, and the entry about it in the audit are
//     written in one transaction.
//   - What is live and what is pinned is never pruned and never purged.
//   - A value is returned only if its bytes are those that were stored. Every byte of the
//     file is hostile: a damaged file is an error that matches [ErrDamaged], and neither a
//     wrong answer nor the end of the process. See check.go and transaction.go.
//   - A full disk fails one transaction and leaves the store usable.
//
// # What is stored
//
// Contents are stored once, by their SHA-256, whatever mentions them: a config of the
// head, a file of the head, a config of the pin, and the values before and after each
// change. refs has the number of mentions; a content goes with its last one.
//
// The head is the newest record in full. Every record has only what it changed, with the
// value before and the value after, so an older state is the head with the changes of
// all newer records undone. A publication therefore writes in proportion to what changed
// and not to what is live.
//
//	meta      format, totals, rewrite, and the number of floors
//	objects   sum → content
//	refs      sum → mentions
//	configs   name → kind and sum, of the head
//	files     layer and path → sum, of the head
//	records   generation → Record
//	changes   generation → changes of configs and files
//	intent    "intent" → Intent
//	pin       name → kind and sum, of the pin
//	audit     number → Entry
//	floors    a source's identity → Floor; made with the first one
//
// Every value but a content ends with a sum over its bucket, its key and its bytes.
package history
