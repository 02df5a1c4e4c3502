package tree

import (
	"fmt"

	"github.com/statesync/statesync/shm/image"
)

// What one config may have, with aliases expanded, in a file and after merging.
const (
	MaxValues = 1_000_000
	MaxText   = 64 << 20 // bytes of keys and strings
)

// TooDeep says that a value is nested more than [image.MaxDepth] deep.
const TooDeep = "nested more than 100 deep; flatten it"

// EmptyFile says that a file has no content.
const EmptyFile = "empty: a file that was cut off looks the same; write {} for a config without keys, or remove the file"

var _ = [1]struct{}{}[image.MaxDepth-100] // as TooDeep says

// Texts of the errors about the bounds.
var (
	TooMany = fmt.Sprintf("more than %d values, with aliases expanded; split the config, or make it an opaque one", MaxValues)
	TooMuch = fmt.Sprintf("more than %d MiB of keys and strings, with aliases expanded; split the config, or make it an opaque one", MaxText>>20)
)
