package client

// Options are for Bind. The zero Options are those of a Bind without any.
type Options[T any] struct {
	// Default is what the binding has until it accepts a value, and where every
	// decoding starts: what a config leaves out comes from Default, at any depth.
	// See the package documentation.
	Default T
	// Validate rejects a value that decodes but makes no sense. It must not change
	// the value. It runs once per change, and may block: only readers of that
	// very value wait for it.
	Validate func(*T) error
	// Strict rejects a config with a field that T does not have, so that a misspelt
	// key is found.
	Strict bool
	// Required makes Client.Ready fail while there is no such config.
	Required bool
	// OnChange is called with each accepted value, first with the present one, and
	// never with Default. See Binding.Changes for what is skipped. A binding's hooks
	// are called one at a time, in the order of what they tell, on another goroutine:
	// the first call may come before or after Bind has returned, so that a hook uses
	// what it is called with, and not the variable that the binding is assigned to.
	// Client.Ready waits for it. After Close, a call that was due may still be made.
	OnChange func(Changed[T])
	// OnReject is called with the reason when a value is rejected, and when the
	// config is removed. It is a *ConfigError. It is called again if an older value,
	// whose decoding took longer, is accepted after that.
	OnReject func(error)
}

// KeyOptions are for BindKey. They are Options without Default, which is an
// argument of BindKey.
type KeyOptions[T any] struct {
	// Validate rejects a value that decodes but makes no sense; see Options.
	Validate func(*T) error
	// Strict rejects a config that does not have the key, and a value with a field
	// that T does not have.
	Strict bool
	// Required makes Client.Ready fail while there is no such config.
	Required bool
	// OnChange is called with each accepted value of the key, first with the present
	// one. A change elsewhere in the config is none of the key's.
	OnChange func(Changed[T])
	// OnReject is called with the reason when a value is rejected, and when the
	// config is removed.
	OnReject func(error)
}

// Changed is a value that a binding accepted.
type Changed[T any] struct {
	// Old is the value of the Changed before, nil in the first one; New is the
	// accepted one. They are shared and must not be changed.
	Old, New *T
	// Generation is the one in which the config got its content.
	Generation uint64
}

// only is the options struct of a call that takes at most one.
func only[O any](function, config string, options []O) (o O) {
	switch len(options) {
	case 0:
	case 1:
		o = options[0]
	default:
		panic("client: " + function + " of config " + config + ": more than one options struct")
	}
	return o
}
