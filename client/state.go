package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// State is what a binding's value is, with respect to the newest generation.
type State string

// The states of a binding.
const (
	// StateDefault: the value is the default. There is no such config, or it does
	// not have the key.
	StateDefault State = "default"
	// StateCurrent: the value is that of the newest generation.
	StateCurrent State = "current"
	// StateRejected: the newest generation's value was rejected; the last accepted
	// one stays, or the default.
	StateRejected State = "rejected"
	// StateRemoved: the config was removed; its last accepted value stays.
	StateRemoved State = "removed"
	// StateNoRegion: there is no region; the value is the default.
	StateNoRegion State = "no region"
)

// BindingState is the state of one binding.
type BindingState struct {
	Config   string
	Key      string // empty for the whole config
	Type     string // the Go type
	State    State
	Required bool
	// Accepted is the generation in which the config got the content of Get's
	// value, 0 if none was accepted. Newest is the one in which it got its newest
	// content, 0 if there is none. They differ while the newest is rejected, or is
	// being decoded.
	Accepted, Newest uint64
	// Hint says what may be wrong although it is no error, as a key that the config
	// does not have.
	Hint string
	Err  error // what the binding's Err returns
}

// MarshalJSON has Err as a string.
func (s BindingState) MarshalJSON() ([]byte, error) {
	type state BindingState
	return json.Marshal(struct {
		state
		Key, Hint, Err string `json:",omitempty"`
	}{state(s), s.Key, s.Hint, text(s.Err)})
}

// text is an error's text, for JSON.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Bindings lists the state of every binding, in the order in which they were
// made. It allocates. It waits for no code of the application, but may block while
// another goroutine refreshes.
func (c *Client) Bindings() []BindingState {
	c.mu.Lock()
	bindings, s := slices.Clone(c.bindings), c.current.Load()
	c.mu.Unlock()
	states := make([]BindingState, len(bindings))
	for i, b := range bindings {
		states[i] = b.describe(s)
	}
	return states
}

// Ready returns when every binding has settled the newest generation, and the
// hooks that were called for it have returned. The error is nil if the
// application can serve; otherwise it joins the reasons of the bindings whose
// value is rejected, and of the Required ones that have no config. Each is a
// *ConfigError. Removed and misspelt configs that are not Required are no reason.
//
// If the context ends first, the error matches the context's. It is ErrClosed after
// Close, and ErrInHook if Ready is called from code of the application that a client
// called.
func (c *Client) Ready(ctx context.Context) error {
	if inApplication() {
		return fmt.Errorf("client.Ready: %w", ErrInHook)
	}
	if c.isClosed() {
		return ErrClosed
	}
	c.mu.Lock()
	bindings := slices.Clone(c.bindings)
	c.mu.Unlock()
	s := c.Snapshot() // which has the configs of them all
	for _, b := range bindings {
		err := b.await(ctx, s)
		if err == nil {
			err = b.awaitHooks(ctx)
		}
		if err != nil {
			return err
		}
	}
	var reasons []error
	for _, b := range bindings {
		reasons = append(reasons, b.unready(c.current.Load()))
	}
	return errors.Join(reasons...)
}

// state is the binding's state in the newest snapshot, with the reason if Get
// does not return that generation's value.
func (b *Binding[T]) state(s *Snapshot) (State, error) {
	v, err := s.numbered(b.number, b.config)
	if err == nil && v.section == nil {
		err = s.absent()
	}
	r := b.newest.Load()
	switch {
	case errors.Is(err, ErrNoRegion):
		return StateNoRegion, b.fail(s.Generation(), err)
	case errors.Is(err, ErrNotFound) && len(b.acceptedResults()) > 0:
		return StateRemoved, b.fail(s.Generation(), err)
	case err != nil:
		return StateDefault, b.fail(s.Generation(), err)
	case r == nil || r.version.section == nil: // it is being decoded, and the state that of before
		if len(b.acceptedResults()) > 0 {
			return StateRemoved, nil
		}
		return StateDefault, nil
	case r.err != nil:
		return StateRejected, b.fail(r.version.changed, r.err)
	case r.missing:
		return StateDefault, nil
	}
	return StateCurrent, nil
}

func (b *Binding[T]) describe(s *Snapshot) BindingState {
	state := BindingState{Config: b.config, Key: b.key, Type: reflect.TypeFor[T]().String(), Required: b.options.Required}
	state.State, state.Err = b.state(s)
	if accepted := b.acceptedResults(); len(accepted) > 0 {
		state.Accepted = accepted[len(accepted)-1].version.changed
	}
	if v, err := s.numbered(b.number, b.config); err == nil && v.section != nil {
		state.Newest = v.changed
	}
	if r := b.newest.Load(); r != nil && r.missing && state.State == StateDefault {
		state.Hint = noSuchKey(r.version.section, b.key)
	}
	return state
}

// unready is the reason why the application cannot serve with this binding.
func (b *Binding[T]) unready(s *Snapshot) error {
	state, err := b.state(s)
	if state == StateRejected || err != nil && b.options.Required {
		return err
	}
	return nil
}

// report tells the log and OnReject what the newest result is, which came after
// another or nil. The caller holds mu.
func (b *Binding[T]) report(r, last *result[T]) {
	if r.value != nil && !b.client.log.troubled() {
		return // after each change: the attributes would be allocated
	}
	attrs := []any{"config", b.config}
	if b.key != "" {
		attrs = append(attrs, "key", b.key)
	}
	switch log := &b.client.log; {
	case r.value != nil:
		log.over(b, "a value is accepted again", attrs...)
	case r.err != nil:
		log.problem(b, r.reason, "a value is rejected; the binding keeps the last accepted one", append(attrs, "error", r.err)...)
		b.reject(b.fail(r.version.changed, r.err))
	case len(b.acceptedResults()) > 0:
		log.problem(b, "removed", "a config is removed; the binding keeps the last accepted value", attrs...)
		b.reject(b.fail(b.client.current.Load().Generation(), ErrNotFound))
	case last != nil && last.err != nil:
		log.problem(b, "removed", "a config is removed; the binding keeps its default", attrs...)
		b.reject(b.fail(b.client.current.Load().Generation(), ErrNotFound))
	}
}
