// Package hook gives package clienttest access to parts of package client that
// are not exported.
package hook

// Verify takes a *client.Client, and returns an error if a value that one of its
// bindings handed out has been changed. Package client sets it.
var Verify func(client any) error

// Verifying is a client.Option with which bindings remember all values that they
// hand out, for Verify. Package client sets it.
var Verifying any

// InApplication reports whether the caller was called by code of the application
// that a client called. Package client sets it.
var InApplication func() bool
