// Package hook lets package clienttest see what package client shows nobody
// else.
package hook

// Verify takes a *client.Client and says whether a value that one of its
// bindings handed out has been changed since. Package client sets it.
var Verify func(client any) error
