// Package inline calls what the compiler has to inline.
package inline

import "github.com/statesync/statesync/client"

// Settings is an application's type.
type Settings struct{ Elo int }

// Get reads a binding.
func Get(b *client.Binding[Settings]) *Settings { return b.Get() }

// GetKey reads a binding of a key.
func GetKey(b *client.KeyBinding[int]) int { return b.Get() }
