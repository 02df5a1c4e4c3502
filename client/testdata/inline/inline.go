// Package inline is compiled by a test that looks at what the compiler makes
// of the hot path.
package inline

import (
	"sync/atomic"

	"github.com/statesync/statesync/client"
)

// Settings is some application's type.
type Settings struct{ Elo int }

// Floor is what nothing can be faster than.
func Floor(p *atomic.Pointer[Settings]) *Settings { return p.Load() }

// Get has to become the same.
func Get(b *client.Binding[Settings]) *Settings { return b.Get() }

// GetKey is one load more.
func GetKey(b *client.KeyBinding[int]) int { return b.Get() }
