package client

import (
	"context"
	"iter"
)

// Changes yields the values that the binding accepts: first the present one, if
// it has accepted any, and then the newest one after each change. What was
// accepted while the loop's body was busy is skipped but for the newest; none is
// older than the one before. When the body runs, Get is at least as new. The
// loop ends when the context or the client does.
func (b *Binding[T]) Changes(ctx context.Context) iter.Seq[Changed[T]] {
	return func(yield func(Changed[T]) bool) {
		var last *T
		for ctx.Err() == nil && !b.client.isClosed() {
			b.mu.Lock()
			if b.moved == nil {
				b.moved = make(chan struct{})
			}
			moved := b.moved
			change, ok := b.changeSince(last)
			b.mu.Unlock()
			if ok {
				if !yield(change) {
					return
				}
				last = change.New
				continue
			}
			select {
			case <-moved:
			case <-ctx.Done():
			case <-b.client.closed:
			}
		}
	}
}

// Changes yields the values of the key that the binding accepts; see
// Binding.Changes.
func (k *KeyBinding[T]) Changes(ctx context.Context) iter.Seq[Changed[T]] { return k.b.Changes(ctx) }

// changeSince is the change from a value to the newest accepted one, if there is
// one.
func (b *Binding[T]) changeSince(old *T) (change Changed[T], ok bool) {
	accepted := b.acceptedResults()
	if len(accepted) == 0 {
		return change, false
	}
	newest := accepted[len(accepted)-1]
	return Changed[T]{Old: old, New: newest.value, Generation: newest.version.changed}, newest.value != old
}

// hooks are what is left to tell the application's OnChange and OnReject. Of each
// at most one call is queued, which tells the newest: a slow hook skips values
// and has no queue to fill. A binding's lock guards the fields but calls.
type hooks[T any] struct {
	calls     errands
	told      *T    // the newest value that OnChange was called with
	change    bool  // a call of OnChange is queued
	rejection error // what the queued call of OnReject will tell, nil if there is none
}

// deliverChange has OnChange called with the newest accepted value. The caller
// holds mu.
func (b *Binding[T]) deliverChange() {
	h := &b.hooks
	if b.options.OnChange == nil || h.change {
		return
	}
	h.change = true
	h.calls.push(func() {
		b.mu.Lock()
		h.change = false
		change, ok := b.changeSince(h.told)
		h.told = change.New
		b.mu.Unlock()
		if ok {
			b.callHook("OnChange", func() { b.options.OnChange(change) })
		}
	})
}

// deliverRejection has OnReject called with a reason. The caller holds mu.
func (b *Binding[T]) deliverRejection(reason error) {
	h := &b.hooks
	if b.options.OnReject == nil {
		return
	}
	queued := h.rejection != nil
	h.rejection = reason
	if queued {
		return
	}
	h.calls.push(func() {
		b.mu.Lock()
		reason := h.rejection
		h.rejection = nil
		b.mu.Unlock()
		b.callHook("OnReject", func() { b.options.OnReject(reason) })
	})
}

// callHook calls a hook. Its panic does not end the application.
func (b *Binding[T]) callHook(name string, hook func()) {
	if panicked := callApplication(hook); panicked != nil {
		b.client.log.problem([2]any{b, name}, panicked.Error(), "a hook panicked",
			"hook", name, "config", b.config, "key", b.key, "error", panicked, "stack", string(panicked.Stack))
	}
}

// awaitHooks returns when the hooks of everything that is settled have returned.
func (b *Binding[T]) awaitHooks(ctx context.Context) error {
	return b.hooks.calls.wait(ctx, b.client.closed)
}
