package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/statesync/statesync/client/internal/decode"
)

// Binding is a typed view of one config. It follows the region: the config is
// decoded into a T once per change, and never while a caller of Get waits. A T
// that was handed out stays valid, is shared by all callers, and must not be
// changed.
//
// Make a binding once, when the program starts; a client keeps its bindings
// for as long as it lives.
type Binding[T any] struct {
	value  atomic.Pointer[T]         // what Get returns; never nil
	newest atomic.Pointer[result[T]] // the newest settled result, for In's fast path

	client   *Client
	config   string
	key      string // empty for the whole config
	number   int    // of the config in the client
	options  Options[T]
	initial  *T // the default
	decoder  *decode.Decoder
	plain    bool                         // decoding runs no code of the application
	decode   func(*result[T]) error       // makes the value of a result's version
	accepted atomic.Pointer[[]*result[T]] // the newest few, oldest first; the slice never changes

	mu       sync.Mutex    // guards what follows
	latest   *version      // of the newest snapshot
	decoding bool          // a goroutine is bringing Get up to latest
	moved    chan struct{} // closed when Get moves; nil without waiters
	hooks    hooks[T]
}

// Bind makes a binding of a config to a Go type. Documents are decoded as
// encoding/json does it, with the additions in the package documentation; opaque
// configs into a T of string or []byte. A value that does not decode, or that
// Validate rejects, is skipped: the binding keeps the last one that it accepted,
// and Err says why.
//
// It takes at most one Options, and panics for more. It returns when the present
// content is settled. A nil client is Default's.
func Bind[T any](c *Client, config string, options ...Options[T]) *Binding[T] {
	b := &Binding[T]{config: config, options: only("Bind", config, options)}
	b.decode = b.decodeConfig
	b.start(c)
	return b
}

// KeyBinding is a binding of one key.
type KeyBinding[T any] struct {
	b Binding[T]
}

// BindKey makes a binding of one dotted key ("weights.elo") of a config. Its value
// is the default until a config is accepted, and for configs that do not have the
// key, or null there if T has no nil. It takes at most one KeyOptions, and panics
// for more.
func BindKey[T any](c *Client, config, key string, value T, options ...KeyOptions[T]) *KeyBinding[T] {
	o := only("BindKey", config, options)
	k := &KeyBinding[T]{b: Binding[T]{config: config, key: key, options: Options[T]{
		Default: value, Validate: o.Validate, Strict: o.Strict, Required: o.Required,
		OnChange: o.OnChange, OnReject: o.OnReject,
	}}}
	b := &k.b
	b.decode = b.decodeKey
	b.start(c)
	return k
}

func (b *Binding[T]) start(c *Client) {
	if c == nil {
		c = Default()
	}
	b.client = c
	b.initial = &b.options.Default
	b.decoder = decode.New(reflect.ValueOf(b.initial).Elem(), b.options.Strict)
	b.plain = b.options.Validate == nil && b.decoder.Plain()
	if c.verifier != nil {
		c.verifier.handedOutDefault(b.config, b.initial)
	}
	b.value.Store(b.initial)
	b.number = c.track(b.config)
	c.mu.Lock()
	c.bindings = append(c.bindings, b)
	s := c.current.Load()
	b.advance(s)
	c.mu.Unlock()
	_ = b.await(context.Background(), s)
}

// Get is the newest value that was accepted, else the default; never nil. It is
// one load of the process's own memory, whatever happens to the region. Two Gets
// may be of two generations; see In.
func (b *Binding[T]) Get() *T { return b.value.Load() }

// In is the value in a snapshot's generation: all values that are read through
// one snapshot belong together. If that generation's value was rejected, or its
// config was removed, it is the newest accepted value that is not newer than the
// snapshot, or the default if the binding has accepted four newer values since.
// Lookup returns the reason. A nil snapshot means Get, and so does one of another
// client, which is a mistake that is logged once.
//
// The first In of a content decodes it, or blocks until it is decoded; it never
// waits for a hook. After that In does not block, allocates nothing and makes no
// syscall. Once the client is closed, In does not wait for code of the application
// either, and returns the newest accepted value as if the content were rejected.
func (b *Binding[T]) In(s *Snapshot) *T {
	r := b.newest.Load()
	if r != nil && s != nil && b.number < len(s.versions) && s.versions[b.number].version == r.version && r.value != nil {
		return r.value
	}
	return b.inOther(s)
}

// inOther is In of another version than the newest that was accepted.
func (b *Binding[T]) inOther(s *Snapshot) *T {
	if s != nil && s.client == b.client && b.number < len(s.versions) {
		v := s.versions[b.number].version
		r := b.newest.Load()
		if r == nil || r.version != v {
			r = b.begin(v)
		}
		select {
		case <-r.done:
			return b.valueIn(r) // without the reason, which Lookup would have to wrap
		default:
		}
	}
	value, _ := b.Lookup(s)
	return value
}

// Lookup is In, with the reason if the value is not that of the snapshot's
// generation. It allocates for an error. The error is a *ConfigError that matches
// ErrNotFound, ErrNoRegion, ErrWrongType, ErrExpired, ErrCorrupt or ErrClosed, or
// wraps what decoding or validation returned.
func (b *Binding[T]) Lookup(s *Snapshot) (*T, error) {
	if s == nil {
		return b.Get(), b.Err()
	}
	if s.client != b.client {
		b.client.log.problem(aboutSnapshot, "foreign", "a binding was asked for another client's snapshot; it returns what Get does",
			"config", b.config, "region", b.client.dir, "snapshot of", s.client.dir)
		return b.Get(), b.fail(s.Generation(), errors.New("the snapshot is another client's"))
	}
	v, err := s.numbered(b.number, b.config)
	if err != nil {
		value, _ := b.newestBefore(s.serial)
		return value, b.fail(s.Generation(), err)
	}
	r := b.begin(v)
	if v.section == nil {
		return b.valueIn(r), b.fail(s.Generation(), s.absent())
	}
	select {
	case <-r.done:
		return b.valueIn(r), b.fail(s.Generation(), r.err)
	default:
	}
	select {
	case <-r.done:
	case <-b.client.closed:
		if !b.plain {
			value, _ := b.newestBefore(s.serial)
			return value, b.fail(s.Generation(), ErrClosed)
		}
		<-r.done // it runs no code of the application, and ends
	}
	return b.valueIn(r), b.fail(s.Generation(), r.err)
}

// Err is the reason why Get does not return the newest generation's value, else
// nil. A value that is still being decoded is no reason.
func (b *Binding[T]) Err() error {
	_, err := b.state(b.client.current.Load())
	return err
}

// fail wraps a reason, if there is one.
func (b *Binding[T]) fail(generation uint64, reason error) error {
	if reason == nil {
		return nil
	}
	return &ConfigError{Config: b.config, Key: b.key, Generation: generation, Err: reason}
}

// describe names a config, or a key of one.
func describe(config, key string) string {
	if key == "" {
		return "config " + config
	}
	return fmt.Sprintf("config %s, key %s", config, key)
}

// Get is the key's value in the newest config that was accepted, else the
// default. It is two loads of the process's own memory.
func (k *KeyBinding[T]) Get() T { return *k.b.value.Load() }

// In is the key's value in a snapshot's generation; see Binding.In.
func (k *KeyBinding[T]) In(s *Snapshot) T { return *k.b.In(s) }

// Lookup is In with the reason why the value is not that of the snapshot's
// generation; see Binding.Lookup. Without Strict, a config that does not have the
// key is no error.
func (k *KeyBinding[T]) Lookup(s *Snapshot) (T, error) {
	value, err := k.b.Lookup(s)
	return *value, err
}

// Err is why Get's value is not that of the newest generation; see
// Binding.Err.
func (k *KeyBinding[T]) Err() error { return k.b.Err() }
