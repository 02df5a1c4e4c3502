package client

import (
	"context"
	"iter"
	"slices"
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

// news is what a hook tells the application.
type news int

const (
	tellChange news = iota
	tellRejection
)

// hooks are what is left to tell the application's OnChange and OnReject: of each
// at most one call, which tells the newest. A slow hook skips values and has no
// queue to fill. A binding's lock guards the fields but calls.
type hooks[T any] struct {
	calls     errands
	pending   []news // in the order of what they tell; each has a call
	told      *T     // the newest value that OnChange was called with
	rejection error  // the newest reason
}

// reject has OnReject called with a reason. The caller holds mu.
func (b *Binding[T]) reject(reason error) {
	b.hooks.rejection = reason
	b.deliver(tellRejection)
}

// deliver has a hook called with the newest it is for, after what is pending now.
// The hook that is called last tells the newest of all. The caller holds mu.
func (b *Binding[T]) deliver(what news) {
	h := &b.hooks
	if what == tellChange && b.options.OnChange == nil || what == tellRejection && b.options.OnReject == nil {
		return
	}
	if at := slices.Index(h.pending, what); at >= 0 {
		h.pending = append(slices.Delete(h.pending, at, at+1), what) // its call is queued
		return
	}
	h.pending = append(h.pending, what)
	h.calls.push(b.tell)
}

// tell calls the hook that is pending for longest.
func (b *Binding[T]) tell() {
	h := &b.hooks
	b.mu.Lock()
	what := h.pending[0]
	h.pending = slices.Delete(h.pending, 0, 1)
	if what == tellRejection {
		reason := h.rejection
		b.mu.Unlock()
		b.callHook("OnReject", func() { b.options.OnReject(reason) })
		return
	}
	change, ok := b.changeSince(h.told)
	h.told = change.New
	b.mu.Unlock()
	if ok {
		b.callHook("OnChange", func() { b.options.OnChange(change) })
	}
}

// callHook calls a hook. Its panic does not end the application.
func (b *Binding[T]) callHook(name string, hook func()) {
	subject := [2]any{b, name}
	if panicked := callApplication(hook); panicked != nil {
		b.client.log.problem(subject, panicked.Error(), "a hook panicked",
			"hook", name, "config", b.config, "key", b.key, "error", panicked, "stack", string(panicked.Stack))
		return
	}
	b.client.log.over(subject, "a hook returns again", "hook", name, "config", b.config, "key", b.key)
}

// awaitHooks returns when the hooks of everything that is settled have returned.
func (b *Binding[T]) awaitHooks(ctx context.Context) error {
	return b.hooks.calls.wait(ctx, b.client.closed)
}
