//go:build unix

package daemon

import (
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/bundle"
	"github.com/statesync/statesync/daemon/source/dir"
	"github.com/statesync/statesync/daemon/source/git"
)

// Schemes are the kinds of sources that the daemon knows.
var Schemes = source.Schemes{dir.Scheme, git.Scheme, bundle.Scheme}
