package client

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// Binding is a typed view of one config. It follows the region: the config is
// decoded into a T once per change, and never while a caller of Get waits. A T
// that was handed out stays valid, is shared by all callers, and must not be
// changed.
//
// Make a binding once, when the program starts; a client keeps its bindings
// for as long as it lives.
type Binding[T any] struct {
	value atomic.Pointer[T]       // what Get returns; never nil
	last  atomic.Pointer[cell[T]] // the newest settled cell, for In's fast path

	client  *Client
	name    string // of the config
	key     string // empty for the whole config
	number  int    // of the config in the client
	options bindOptions
	decode  func(*config) (*T, error)
	initial *T   // the default, or zero
	plain   bool // settling runs no code of the application

	// mu guards what follows.
	mu        sync.Mutex
	accepted  []accepted[T] // the newest few, oldest first
	latest    *config       // of the newest snapshot
	decoding  bool          // a goroutine is bringing Get up to latest
	handedOut handedOut[T]  // in tests
}

// cell is one config decoded for one binding, once.
type cell[T any] struct {
	config *config
	done   chan struct{} // closed when the fields below are settled
	// value is decoded from config. If that was refused or is absent, value is the
	// newest one accepted before it, and is replaced if an older config is accepted
	// later.
	value   atomic.Pointer[T]
	refused bool
	err     error // why it was refused
}

// accepted is a value and the config that it was decoded from.
type accepted[T any] struct {
	config *config
	value  *T
}

// maxAccepted is how many accepted values a binding remembers for refusals on
// older snapshots.
const maxAccepted = 4

// BindOption is for Bind and BindKey.
type BindOption func(*bindOptions)

type bindOptions struct {
	initial  any // *T
	validate any // func(*T) error
	strict   bool
	onError  func(error)
}

// WithDefault is what a binding has before it accepted anything. It is used
// whole; fields that a config leaves out do not come from it.
func WithDefault[T any](value T) BindOption {
	return func(o *bindOptions) { o.initial = &value }
}

// WithValidate lets a binding refuse a value that decodes but does not make
// sense. The value must not be changed. It runs once per change, and may block:
// only those who ask for that very value wait for it.
func WithValidate[T any](validate func(*T) error) BindOption {
	return func(o *bindOptions) { o.validate = validate }
}

// Strict makes a config's field that T does not have an error, so that a
// misspelt key is found.
func Strict() BindOption { return func(o *bindOptions) { o.strict = true } }

// OnError calls a function with each refusal, on a goroutine of its own.
func OnError(hook func(error)) BindOption { return func(o *bindOptions) { o.onError = hook } }

// Bind makes a binding of a config to a Go type. Documents are decoded as
// encoding/json does it; opaque configs into a T of string or []byte. A value
// that does not decode, or that WithValidate refuses, is passed over: the
// binding keeps the last one it accepted, and Err says why.
//
// It returns when the present content is settled. A nil client is Default's.
// An option of another type than T panics.
func Bind[T any](c *Client, name string, options ...BindOption) *Binding[T] {
	b := &Binding[T]{name: name}
	b.decode = func(c *config) (*T, error) { return decodeConfig[T](c, b.options.strict) }
	b.start(c, options)
	return b
}

// KeyBinding is a binding of one key.
type KeyBinding[T any] struct {
	b Binding[T]
}

// BindKey makes a binding of one dotted key ("weights.elo") of a config, with
// a default for as long as no config has been accepted, and for configs that
// do not have the key.
func BindKey[T any](c *Client, name, key string, value T, options ...BindOption) *KeyBinding[T] {
	k := &KeyBinding[T]{b: Binding[T]{name: name, key: key}}
	b := &k.b
	b.decode = func(c *config) (*T, error) { return decodeKey(c, key, b.initial, b.options.strict) }
	b.start(c, append(slices.Clone(options), WithDefault(value)))
	return k
}

func (b *Binding[T]) start(c *Client, options []BindOption) {
	if c == nil {
		c = Default()
	}
	for _, option := range options {
		option(&b.options)
	}
	b.client = c
	b.plain = b.options.validate == nil && isPlain(reflect.TypeFor[T]())
	b.initial = new(T)
	if b.options.initial != nil {
		initial, ok := b.options.initial.(*T)
		if !ok {
			panic(fmt.Sprintf("client: config %s is bound to %T, its default is %T", b.name, b.initial, b.options.initial))
		}
		b.initial = initial
	}
	if _, ok := b.options.validate.(func(*T) error); !ok && b.options.validate != nil {
		panic(fmt.Sprintf("client: config %s is bound to %T, its validation is %T", b.name, b.initial, b.options.validate))
	}
	if c.verifying {
		b.handedOut.initially(b.initial)
	}
	b.value.Store(b.initial)
	b.number = c.track(b.name)
	c.mu.Lock()
	c.bindings = append(c.bindings, b)
	s := c.current.Load()
	b.advance(s)
	c.mu.Unlock()
	_ = b.await(context.Background(), s)
}

// Get is the newest value that was accepted, else the default, else the zero
// T; never nil. It is one load of the process's own memory, whatever happens to
// the region. Two Gets may be of two generations; see In.
func (b *Binding[T]) Get() *T { return b.value.Load() }

// In is the value in a snapshot's generation: all values that are read through
// one snapshot belong together. If that generation's value was refused, or its
// config is gone, it is the newest accepted value that is not newer than the
// snapshot. It is the default if the binding has accepted four newer values
// since. Lookup returns the reason. A nil snapshot means Get.
//
// The first In of a content decodes it, or blocks until it is decoded or the
// client is closed. After that In does not block, allocates nothing and makes no
// syscall.
func (b *Binding[T]) In(s *Snapshot) *T {
	c := b.last.Load()
	if c != nil && s != nil && b.number < len(s.configs) && s.configs[b.number].config == c.config {
		return c.value.Load()
	}
	return b.inOther(s)
}

// inOther is In of another content than the newest that was settled.
func (b *Binding[T]) inOther(s *Snapshot) *T {
	if s != nil && s.client == b.client && b.number < len(s.configs) {
		c := b.begin(s.configs[b.number].config)
		select {
		case <-c.done:
			return c.value.Load() // without the reason, which Lookup would have to wrap
		default:
		}
	}
	value, _ := b.Lookup(s)
	return value
}

// Lookup is In, with the reason if the value is not that of the snapshot's
// generation. It allocates for an error. The error is a *ConfigError that matches ErrNotFound,
// ErrNoRegion, ErrWrongType, ErrExpired, ErrCorrupt or ErrClosed, or wraps what
// decoding or validation returned.
func (b *Binding[T]) Lookup(s *Snapshot) (*T, error) {
	if s == nil {
		return b.Get(), b.Err()
	}
	if s.client != b.client {
		return b.Get(), b.fail(s, fmt.Errorf("the snapshot is another client's"))
	}
	config, err := s.numbered(b.number, b.name)
	if err != nil {
		return b.newest(s.serial), b.fail(s, err)
	}
	c := b.begin(config)
	if config.section == nil {
		return c.value.Load(), b.fail(s, s.absent())
	}
	select {
	case <-c.done:
		return c.value.Load(), b.fail(s, c.err)
	default:
	}
	select {
	case <-c.done:
		return c.value.Load(), b.fail(s, c.err)
	case <-b.client.closed:
		return b.newest(s.serial), b.fail(s, ErrClosed)
	}
}

// Err is the reason why Get does not return the newest generation's value, else
// nil. A value that is still being decoded is no reason.
func (b *Binding[T]) Err() error {
	s := b.client.current.Load()
	config, err := s.numbered(b.number, b.name)
	if err == nil && config.section == nil {
		err = s.absent()
	}
	if err != nil {
		return b.fail(s, err)
	}
	if c := b.last.Load(); c != nil {
		return b.fail(s, c.err)
	}
	return nil
}

// fail wraps a reason, if there is one.
func (b *Binding[T]) fail(s *Snapshot, reason error) error {
	if reason == nil {
		return nil
	}
	return &ConfigError{Config: b.name, Key: b.key, Generation: s.Generation(), Err: reason}
}

// newest is the newest accepted value that is not newer than a serial.
func (b *Binding[T]) newest(serial uint64) *T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newestLocked(serial)
}

func (b *Binding[T]) newestLocked(serial uint64) *T {
	for _, a := range slices.Backward(b.accepted) {
		if a.config.serial <= serial {
			return a.value
		}
	}
	return b.initial
}

// begin returns the cell of a config. The first caller decodes a small config
// into a plain type itself, and has a goroutine decode any other.
func (b *Binding[T]) begin(config *config) *cell[T] {
	c, first := b.cell(config)
	switch {
	case !first:
	case b.inline(config):
		b.settle(c)
	default:
		go b.settle(c)
	}
	return c
}

// inline reports whether the follower and readers may decode a config
// themselves: it takes a bounded time, and runs no code of the application.
func (b *Binding[T]) inline(config *config) bool {
	return b.plain && len(config.section.Content()) <= maxInline
}

// cell returns the cell of a config, and whether the caller is the first to ask
// for it. The first one must settle it. An absent config is settled here, with
// the newest accepted value.
func (b *Binding[T]) cell(config *config) (c *cell[T], first bool) {
	config.mu.Lock()
	defer config.mu.Unlock()
	if c, ok := config.cells[b]; ok {
		return c.(*cell[T]), false
	}
	c = &cell[T]{config: config, done: make(chan struct{})}
	if config.cells == nil {
		config.cells = make(map[any]any)
	}
	config.cells[b] = c
	if config.section != nil {
		return c, true
	}
	b.mu.Lock()
	c.refused = true
	c.value.Store(b.newestLocked(config.serial))
	b.settled(c)
	b.mu.Unlock()
	close(c.done)
	return c, false
}

// settle decodes and validates. This is where the application's code runs. It
// may panic, or end the goroutine by runtime.Goexit.
func (b *Binding[T]) settle(c *cell[T]) {
	var value *T
	err := errGoexit
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
		b.finish(c, value, err)
	}()
	value, err = b.make(c.config)
}

func (b *Binding[T]) make(config *config) (*T, error) {
	value, err := b.decode(config)
	if err != nil {
		return nil, err
	}
	if validate, ok := b.options.validate.(func(*T) error); ok {
		if err := validate(value); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// finish settles a cell. Get moves, forward only, before the waits for the cell
// end.
func (b *Binding[T]) finish(c *cell[T], value *T, err error) {
	b.mu.Lock()
	if err == nil {
		c.value.Store(value)
		b.accept(c.config, value)
	} else {
		c.refused, c.err = true, err
		c.value.Store(b.newestLocked(c.config.serial))
		b.client.counters.refusals.Add(1)
	}
	b.settled(c)
	b.mu.Unlock()
	close(c.done)
	if err != nil && b.options.onError != nil {
		go func() { // a hook that blocks does not delay the next decoding
			defer func() { _ = recover() }() // and its panic does not end the application
			b.options.onError(&ConfigError{Config: b.name, Key: b.key, Generation: c.config.changed, Err: err})
		}()
	}
}

// settled remembers a cell if it is the newest. The caller holds mu.
func (b *Binding[T]) settled(c *cell[T]) {
	if last := b.last.Load(); last == nil || last.config.serial <= c.config.serial {
		b.last.Store(c)
	}
}

// accept remembers a value, and makes it Get's if it is the newest. The caller
// holds mu.
func (b *Binding[T]) accept(config *config, value *T) {
	at := len(b.accepted)
	for at > 0 && b.accepted[at-1].config.serial > config.serial {
		at--
	}
	b.handedOut.add(config, value)
	b.accepted = slices.Insert(b.accepted, at, accepted[T]{config: config, value: value})
	if at == len(b.accepted)-1 {
		b.value.Store(value)
		if last := b.last.Load(); last != nil && last.refused && last.config.serial >= config.serial {
			last.value.Store(value) // until now it had an older one
		}
	}
	if len(b.accepted) > maxAccepted {
		b.accepted = slices.Delete(b.accepted, 0, 1)
	}
}

// advance makes a snapshot's config the latest, and has it decoded: by the
// follower, if that is the caller, else by a goroutine. The caller
// holds the client's mutex. A config that is superseded while an older one is
// being decoded is never decoded.
func (b *Binding[T]) advance(s *Snapshot) {
	if b.number >= len(s.configs) {
		return
	}
	config := s.configs[b.number].config
	if config.section == nil {
		b.cell(config)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest == config {
		return
	}
	b.latest = config
	queue := b.client.queue
	if b.inline(config) && queue.add(len(config.section.Content()), func() { b.begin(config) }) {
		return
	}
	if b.decoding {
		return
	}
	b.decoding = true
	queue.run(func() { b.decodeLatest(config) })
}

// decodeLatest settles a config, and then the latest one if that has become
// another. runtime.Goexit in the application's code ends the goroutine, and so
// the rest is deferred.
func (b *Binding[T]) decodeLatest(config *config) {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.latest == config || b.client.isClosed() {
			b.decoding = false
			return
		}
		go b.decodeLatest(b.latest)
	}()
	c, first := b.cell(config)
	if first {
		b.settle(c)
		return
	}
	select {
	case <-c.done:
	case <-b.client.closed:
	}
}

func (b *Binding[T]) await(ctx context.Context, s *Snapshot) error {
	if b.number >= len(s.configs) || s.configs[b.number].section == nil {
		return nil
	}
	select {
	case <-b.begin(s.configs[b.number].config).done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for config %s to be decoded: %w", b.name, context.Cause(ctx))
	case <-b.client.closed:
		return ErrClosed
	}
}

// Get is the key's value in the newest config that was accepted, else the
// default. It is two loads of the process's own memory.
func (k *KeyBinding[T]) Get() T { return *k.b.value.Load() }

// In is the key's value in a snapshot's generation; see Binding.In.
func (k *KeyBinding[T]) In(s *Snapshot) T { return *k.b.In(s) }

// Lookup is In with the reason why the value is not that of the snapshot's
// generation; see Binding.Lookup. A config without the key is no error.
func (k *KeyBinding[T]) Lookup(s *Snapshot) (T, error) {
	value, err := k.b.Lookup(s)
	return *value, err
}

// Err is why Get's value is not that of the newest generation; see
// Binding.Err.
func (k *KeyBinding[T]) Err() error { return k.b.Err() }
