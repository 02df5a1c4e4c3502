package image

import (
	"errors"
	"fmt"
)

// ErrNotFound means that an image has no config of that name, or a config no such
// key. It is proven by the sums, not assumed.
var ErrNotFound = errors.New("not found")

// ErrCorrupt matches every error about bytes that this package does not write. In
// a slot whose sequence has changed meanwhile it means nothing: the copy is torn,
// and the reader tries again.
var ErrCorrupt = errors.New("corrupt")

// ErrTooLarge means that a config is larger than MaxSection, or its index is.
var ErrTooLarge = errors.New("too large")

// corruptError names the damaged part.
type corruptError struct {
	part string
	n    uint64 // its number, or its offset
	why  string
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("%s %d is corrupt: %s", e.part, e.n, e.why)
}

func (e *corruptError) Is(target error) bool { return target == ErrCorrupt }

func corrupt(part string, n uint64, why string) error {
	return &corruptError{part: part, n: n, why: why}
}

// SyntaxError is the place at which a text is not canonical JSON of a config.
type SyntaxError struct {
	Offset int // bytes from the text's start
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// DuplicateKeyError means that two paths of a config join to the same dotted key,
// as in {"a.b": 1, "a": {"b": 2}}: no reader could tell them apart.
type DuplicateKeyError struct {
	Key string
}

func (e *DuplicateKeyError) Error() string {
	return fmt.Sprintf("two paths lead to the key %q; rename one of them", shorten(e.Key))
}

// NameError means that the name of a config cannot be in an image with the others:
// another name has the same hash, or too many have hashes like it. It takes names
// that were chosen for this.
type NameError struct {
	Name string
	Twin string // the other config, if its name has the same hash
}

func (e *NameError) Error() string {
	if e.Twin != "" {
		return fmt.Sprintf("the names of the configs %s and %s have the same hash", e.Twin, e.Name)
	}
	return fmt.Sprintf("the hash of the config's name %s is like those of too many others", e.Name)
}

// CrowdedKeyError means that too many keys of a config have hashes like this
// one's, so that no seed gives its table of keys short searches. It takes keys
// that were chosen for this.
type CrowdedKeyError struct {
	Key string
}

func (e *CrowdedKeyError) Error() string {
	return fmt.Sprintf("the hash of the key %q is like those of too many other keys; rename it", shorten(e.Key))
}
