package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// result is what one binding makes of one version, once.
type result[T any] struct {
	version *version
	done    chan struct{} // closed when the fields below are final
	value   *T            // nil if the version was rejected or has no config
	text    []byte        // of the binding's key, in the version
	missing bool          // the version does not have the binding's key
	err     error         // why it was rejected
	reason  string        // the text of err
	// instead is the newest value that was accepted before the version, as far as is
	// known, if value is nil. It outlives the binding's memory of that value.
	instead atomic.Pointer[T]
}

// maxAccepted is how many accepted results a binding remembers for older
// snapshots whose version was rejected.
const maxAccepted = 4

// advance makes a snapshot's version the latest, and has it decoded: by the
// follower, if that is the caller, else by a goroutine. A version that is
// superseded while an older one is being decoded is never decoded. The caller
// holds the client's mutex.
func (b *Binding[T]) advance(s *Snapshot) {
	if b.number >= len(s.versions) {
		return
	}
	v := s.versions[b.number].version
	if v.section == nil {
		b.resultOf(v)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest == v {
		return
	}
	b.latest = v
	queue := b.client.queue
	if b.isQuick(v) && queue.add(b.cost(v), func() { b.begin(v) }) {
		return
	}
	if b.decoding {
		return
	}
	b.decoding = true
	queue.run(func() { b.decodeLatest(v) })
}

// decodeLatest settles a version, and then the latest one if that has become
// another. Code of the application may end the goroutine, and so the rest is
// deferred.
func (b *Binding[T]) decodeLatest(v *version) {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.latest == v || b.client.isClosed() {
			b.decoding = false
			return
		}
		go b.decodeLatest(b.latest)
	}()
	r, first := b.resultOf(v)
	if first {
		b.settle(r)
		return
	}
	select {
	case <-r.done:
	case <-b.client.closed:
	}
}

// begin returns the result of a version, and has it decoded if it is the first
// to ask: at once if that is quick, else by a goroutine.
func (b *Binding[T]) begin(v *version) *result[T] {
	r, first := b.resultOf(v)
	switch {
	case !first:
	case b.isQuick(v):
		b.settle(r)
	default:
		go b.settle(r)
	}
	return r
}

// isQuick reports whether the follower and readers may decode a version
// themselves: it takes a bounded time, and runs no code of the application.
func (b *Binding[T]) isQuick(v *version) bool {
	return b.plain && b.cost(v) <= maxInline
}

// resultOf returns the result of a version, and whether the caller is the first
// to ask for it. The first one must settle it, unless there is no config.
func (b *Binding[T]) resultOf(v *version) (r *result[T], first bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r, ok := v.results[b]; ok {
		return r.(*result[T]), false
	}
	r = &result[T]{version: v, done: make(chan struct{})}
	if v.results == nil {
		v.results = make(map[any]any)
	}
	v.results[b] = r
	if v.section != nil {
		return r, true
	}
	b.finish(r)
	return r, false
}

// settle decodes and validates. It may call code of the application, and the
// method that makes an error's text is such code: finish, which holds a lock, uses
// the text.
func (b *Binding[T]) settle(r *result[T]) {
	r.err, r.reason = errGoexit, errGoexit.Error()
	defer func() { b.finish(r) }()
	var err error
	var reason string
	panicked := callApplication(func() {
		if err = b.make(r); err != nil {
			reason = err.Error()
		}
	})
	if panicked != nil {
		err = panicked
		_ = callApplication(func() { reason = panicked.Error() })
	}
	r.err, r.reason = err, reason
}

// make decodes and validates the value of a result. A key whose text is that of
// the last accepted result keeps its value: the config changed elsewhere.
func (b *Binding[T]) make(r *result[T]) error {
	if err := b.decode(r); err != nil {
		return err
	}
	if accepted := b.acceptedResults(); b.key != "" && len(accepted) > 0 {
		last := accepted[len(accepted)-1]
		if last.missing == r.missing && bytes.Equal(last.text, r.text) {
			r.value = last.value
			return nil
		}
	}
	if b.options.Validate != nil {
		return b.options.Validate(r.value)
	}
	return nil
}

// finish makes a result final. Get moves, forward only, before the waits for the
// result end.
func (b *Binding[T]) finish(r *result[T]) {
	if r.err != nil {
		r.value = nil
		b.client.counters.rejections.Add(1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.newest.Load()
	moved := false
	if r.value != nil {
		moved = b.accept(r)
	} else {
		value, _ := b.newestBefore(r.version.serial)
		r.instead.Store(value)
	}
	switch {
	// Two versions of a serial have the same content: one was first asked for on an
	// older snapshot.
	case last == nil || last.version.serial < r.version.serial:
		b.newest.Store(r)
		b.report(r, last)
	case moved && last.value == nil:
		b.report(last, r) // again: what the hooks are told last is how things are
	}
	close(r.done)
}

// accept remembers a result. If it is the newest one, its value becomes Get's, and
// moved is true. The caller holds mu.
func (b *Binding[T]) accept(r *result[T]) (moved bool) {
	older := b.acceptedResults()
	at := len(older)
	for at > 0 && older[at-1].version.serial >= r.version.serial {
		at--
	}
	// Readers have the old slice.
	next := slices.Insert(slices.Clone(older), at, r)
	next = next[max(0, len(next)-maxAccepted):]
	b.accepted.Store(&next)
	if v := b.client.verifier; v != nil {
		handedOut(v, b, r.version, r.value)
	}
	if at < len(older) {
		return false
	}
	b.value.Store(r.value)
	if b.moved != nil {
		close(b.moved)
		b.moved = nil
	}
	b.deliver(tellChange)
	return true
}

// acceptedResults are the newest that have a value, oldest first.
func (b *Binding[T]) acceptedResults() []*result[T] {
	if p := b.accepted.Load(); p != nil {
		return *p
	}
	return nil
}

// newestBefore is the newest accepted value that is not newer than a serial, or
// the default if the binding does not remember one.
func (b *Binding[T]) newestBefore(serial uint64) (value *T, remembered bool) {
	for _, r := range slices.Backward(b.acceptedResults()) {
		if r.version.serial <= serial {
			return r.value, true
		}
	}
	return b.initial, false
}

// valueIn is the value that a settled result stands for: its own, or the newest
// one accepted before it.
func (b *Binding[T]) valueIn(r *result[T]) *T {
	if r.value != nil {
		return r.value
	}
	// An older version may have been accepted since r was settled.
	if value, remembered := b.newestBefore(r.version.serial); remembered && value != r.instead.Load() {
		b.mu.Lock() // else an older value could take the place of a newer one
		defer b.mu.Unlock()
		if value, remembered = b.newestBefore(r.version.serial); remembered {
			r.instead.Store(value)
		}
	}
	return r.instead.Load()
}

// await returns when the binding has settled its version in a snapshot.
func (b *Binding[T]) await(ctx context.Context, s *Snapshot) error {
	if b.number >= len(s.versions) || s.versions[b.number].section == nil {
		return nil
	}
	r := b.begin(s.versions[b.number].version)
	select {
	case <-r.done: // whatever has ended besides
		return nil
	default:
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to be decoded: %w", describe(b.config, b.key), context.Cause(ctx))
	case <-b.client.closed:
		return ErrClosed
	}
}
