package image

import (
	"errors"
	"fmt"
)

// ErrNotFound says that an image has no config of that name, or a config no
// such key; it is proven, not assumed.
var ErrNotFound = errors.New("not found")

// ErrCorrupt matches every error about bytes that are not what this package
// writes. In a slot whose sequence has moved meanwhile it means nothing: the
// copy is torn, and the reader tries again.
var ErrCorrupt = errors.New("corrupt")

// ErrTooLarge says that a config, or all of them together, does not fit.
var ErrTooLarge = errors.New("too large")

// corruptError names the part that is damaged.
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

// SyntaxError says where a JSON text can't be read, or holds what a config
// must not hold.
type SyntaxError struct {
	Offset int // bytes from the text's start
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// DuplicateKeyError says that two paths of a config join to the same dotted
// key, as {"a.b": 1, "a": {"b": 2}} does: no reader could tell them apart.
type DuplicateKeyError struct {
	Key string
}

func (e *DuplicateKeyError) Error() string {
	return fmt.Sprintf("two paths lead to the key %q; rename one of them", shorten(e.Key))
}

// CrowdedKeyError says that too many keys of a config have hashes like this
// one's, so that no table of its keys has short searches. Keys that nobody made
// for that do not.
type CrowdedKeyError struct {
	Key string
}

func (e *CrowdedKeyError) Error() string {
	return fmt.Sprintf("the hash of the key %q is like those of too many other keys; rename it", shorten(e.Key))
}
