// Package hook lets package clienttest see what package client shows nobody
// else.
package hook

// Verify takes a *client.Client and says whether a value that one of its
// bindings handed out has been changed since. Package client sets it.
var Verify func(client any) error

// Verifying is a client.Option: bindings remember everything that they hand
// out, so that Verify can look at it. Package client sets it.
var Verifying any
