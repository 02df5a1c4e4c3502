//go:build unix

package client_test

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// rude does in UnmarshalJSON what the config says.
type rude struct {
	Do string
	N  int
}

// errands are what a rude value can call, by the name in its "do".
var errands sync.Map // string to func(text []byte) error

func (r *rude) UnmarshalJSON(text []byte) error {
	type plain rude
	if err := json.Unmarshal(text, (*plain)(r)); err != nil {
		return err
	}
	if errand, ok := errands.Load(r.Do); ok {
		return errand.(func([]byte) error)(text)
	}
	return nil
}

// errand makes f what a rude value does, and returns how a config asks for it.
func errand(t *testing.T, f func(text []byte) error) string {
	t.Helper()
	errands.Store(t.Name(), f)
	t.Cleanup(func() { errands.Delete(t.Name()) })
	return t.Name()
}

// both are a rude config and one beside it that nothing is wrong with.
func both(do string, n int) configs { return configs{"rude": rude{do, n}, "polite": number{uint64(n)}} }

// goesOn fails the test unless bindings, snapshots and names are still followed.
func goesOn(t *testing.T, c *client.Client, p *publisher, polite *client.Binding[number]) {
	t.Helper()
	g := p.next(t, both("", 1000))
	s := c.Snapshot()
	want(t, "the generation", s.Generation(), g)
	want(t, "In of another binding", polite.In(s).N, 1000)
	d, err := c.Get("rude")
	must(t, err)
	want(t, "the document", d.IntOr("N", 0), 1000)
	p.next(t, both("", 1001))
	eventually(t, "another binding follows", func() bool { return polite.Get().N == 1001 })
}

func TestUserCodeThatFails(t *testing.T) {
	t.Parallel()
	errBad := errors.New("bad")
	for name, f := range map[string]func([]byte) error{
		"error":     func([]byte) error { return errBad },
		"panic":     func([]byte) error { panic("out of luck") },
		"panic nil": func([]byte) error { panic(nil) },
		"fault":     func([]byte) error { var p *number; p.N++; return nil },
		"bounds":    func(text []byte) error { text[0] = text[cap(text)]; return nil },
		"goexit":    func([]byte) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := created(t, regionIn(t), 1, both("", 1))
			c := open(t, p.dir())
			refusals := make(chan error, 10)
			b := client.Bind(c, "rude", client.Options[rude]{OnReject: func(err error) { refusals <- err }})
			polite := client.Bind[number](c, "polite")
			g := p.next(t, both(errand(t, f), 2))
			must(t, c.WaitGeneration(t.Context(), g))
			value, err := b.Lookup(c.Snapshot())
			want(t, "Lookup", value.N, 1)
			want(t, "In", b.In(c.Snapshot()).N, 1)
			want(t, "Get", b.Get().N, 1)
			want(t, "Get of the other one", polite.Get().N, 2)
			for _, err := range []error{err, b.Err(), inTime(t, "OnReject is called", refusals)} {
				var panicked *client.PanicError
				switch {
				case err == nil:
					t.Error("there is no error")
				case name == "error":
					wantRefused(t, err, errBad, "rude", "", g)
				case name == "goexit":
					wantError(t, err, err, "rude", "Goexit")
				case !errors.As(err, &panicked):
					t.Errorf("the error is no *PanicError, but %v", err)
				case !strings.Contains(string(panicked.Stack), "usercode_test.go"):
					t.Errorf("the stack does not lead to the panic: %s", panicked.Stack)
				case name == "panic":
					wantError(t, err, err, "rude", "out of luck")
					want(t, "the panic's value", panicked.Value, any("out of luck"))
				}
			}
			want(t, "Rejections", c.Stats().Rejections, 1)
			goesOn(t, c, p, polite)
			eventually(t, "the binding follows again", func() bool { return b.Get().N == 1001 })
			must(t, b.Err())
		})
	}
}

func TestUserCodeThatScribblesOnItsInput(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, both(errand(t, func(text []byte) error {
		for i := range text {
			text[i] = 'x'
		}
		_ = append(text, strings.Repeat("y", 1000)...)
		return nil
	}), 1))
	c := open(t, p.dir())
	for range 3 {
		client.Bind[rude](c, "rude")
		client.BindKey(c, "outer", "rude", rude{})
		d, err := c.Get("rude")
		must(t, err)
		must(t, d.Decode(new(rude)))
		want(t, "the content", d.IntOr("N", 0), 1)
		if !json.Valid(d.JSON()) {
			t.Errorf("the content is %s", d.JSON())
		}
	}
}

// A decoder that does not return stops only those readers that wait for it.
func TestUserCodeThatSleeps(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}, 10), make(chan struct{})
	do := errand(t, func([]byte) error { asleep <- struct{}{}; <-wake; return nil })
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	b := client.Bind[rude](c, "rude")
	polite := client.Bind[number](c, "polite")
	p.next(t, both(do, 2))
	inTime(t, "the decoder sleeps", asleep)
	sleeping := c.Snapshot()
	want(t, "Get", b.Get().N, 1)
	must(t, b.Err()) // as far as it has come
	goesOn(t, c, p, polite)
	want(t, "Get", b.Get().N, 1)
	// A reader of a later content does not wait for the sleeper, and a reader of the
	// sleeper's content does.
	want(t, "In of a later content", b.In(c.Snapshot()).N, 1001)
	want(t, "Get after In", b.Get().N, 1001)
	waiting := async(func() int { return b.In(sleeping).N })
	again := async(func() int { return b.In(sleeping).N })
	select {
	case n := <-waiting:
		t.Fatalf("In returned %d before it was decoded", n)
	case <-time.After(10 * time.Millisecond):
	}
	close(wake)
	want(t, "In of the sleeper's content", inTime(t, "In returns", waiting), 2)
	want(t, "In of the sleeper's content", inTime(t, "In returns", again), 2)
	want(t, "Get, which never goes back", b.Get().N, 1001)
}

// What a sleeping decoder comes to in the end counts for the generations after
// its own, too: where the config was refused or deleted there, In goes on with
// the newest accepted value, which is what Get has.
func TestUserCodeThatSleepsWhileItsConfigGoes(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]configs{
		"deleted": {"polite": number{3}},
		"refused": {"polite": number{3}, "rude": configs{"N": "no number"}},
	} {
		asleep, wake := make(chan struct{}, 10), make(chan struct{})
		do := errand(t, func([]byte) error { asleep <- struct{}{}; <-wake; return nil })
		p := created(t, regionIn(t), 1, both("", 1))
		c := open(t, p.dir())
		b := client.Bind[rude](c, "rude")
		p.next(t, both(do, 2))
		inTime(t, "the decoder sleeps", asleep)
		p.next(t, gone)
		after := c.Snapshot()
		in := async(func() int { return b.In(after).N }) // may wait for the sleeper
		select {
		case n := <-in:
			want(t, "In while the decoder sleeps, "+name, n, 1)
		case <-time.After(10 * time.Millisecond):
		}
		close(wake)
		eventually(t, "Get has what the sleeper made", func() bool { return b.Get().N == 2 })
		want(t, "In of the newest snapshot, "+name, b.In(c.Snapshot()).N, 2)
	}
}

// The follower passes over what was superseded while a decoder slept.
func TestUserCodeThatIsSlow(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}, 10), make(chan struct{})
	do := errand(t, func([]byte) error { asleep <- struct{}{}; <-wake; return nil })
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	b := client.Bind[rude](c, "rude")
	polite := client.Bind[number](c, "polite")
	p.next(t, both(do, 2))
	inTime(t, "the decoder sleeps", asleep)
	for n := 3; n <= 50; n++ {
		p.next(t, both(do, n))
		eventually(t, "the other binding follows", func() bool { return polite.Get().N == uint64(n) })
	}
	close(wake)
	eventually(t, "the slow binding has the last value", func() bool { return b.Get().N == 50 })
	if n := len(asleep); n > 1 {
		t.Errorf("after the first one, %d more contents were decoded of which one was wanted", n)
	}
}

// Each blocked decoder costs the follower its goroutine, and the next one goes
// on with what is left of the change.
func TestUserCodeThatBlocksPassesTheFollowerOn(t *testing.T) {
	t.Parallel()
	const blocked = 8
	asleep, wake := make(chan struct{}, blocked), make(chan struct{})
	p := created(t, regionIn(t), 1, numbered(1))
	c := open(t, p.dir())
	var bindings []*client.Binding[number]
	for range blocked {
		bindings = append(bindings, client.Bind(c, "a", client.Options[number]{Validate: func(n *number) error {
			if n.N == 2 {
				asleep <- struct{}{}
				<-wake
			}
			return nil
		}}))
	}
	last := client.Bind(c, "a", client.Options[number]{Validate: func(*number) error { return nil }})
	must(t, p.publish(numbered(2)))
	for range blocked {
		inTime(t, "each validation is called", asleep)
	}
	eventually(t, "the last binding follows", func() bool { return last.Get().N == 2 })
	must(t, p.publish(numbered(3)))
	eventually(t, "and follows again", func() bool { return last.Get().N == 3 })
	close(wake)
	for _, b := range bindings {
		eventually(t, "the blocked bindings follow", func() bool { return b.Get().N == 3 })
	}
}

// A decoder that is quick runs on the follower: to start a goroutine for it would
// cost as much again as the change.
func TestUserCodeThatIsQuickStartsNoGoroutine(t *testing.T) {
	t.Parallel()
	stacks := make(chan string, 100)
	do := errand(t, func([]byte) error {
		stack := make([]byte, 64<<10)
		stacks <- string(stack[:runtime.Stack(stack, false)])
		return nil
	})
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	b := client.Bind[rude](c, "rude")
	follower := 0
	for n := 2; n < 12; n++ {
		p.next(t, both(do, n))
		if strings.Contains(inTime(t, "the decoder is called", stacks), "(*Client).follow") {
			follower++
		}
		eventually(t, "the binding follows", func() bool { return b.Get().N == n })
	}
	if follower < 5 { // the others came while the last one ended
		t.Errorf("%d of 10 changes were decoded by the follower", follower)
	}
}

// A goroutine that the application's code ends does not take the contents along
// that came meanwhile.
func TestUserCodeThatExitsLate(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}, 10), make(chan struct{})
	do := errand(t, func([]byte) error { asleep <- struct{}{}; <-wake; runtime.Goexit(); return nil })
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	b := client.Bind[rude](c, "rude")
	polite := client.Bind[number](c, "polite")
	p.next(t, both(do, 2))
	inTime(t, "the decoder sleeps", asleep)
	p.next(t, both("", 3))
	eventually(t, "the other binding follows", func() bool { return polite.Get().N == 3 })
	close(wake)
	eventually(t, "the binding follows", func() bool { return b.Get().N == 3 })
	want(t, "Rejections", c.Stats().Rejections, 1)
	p.next(t, both("", 4))
	eventually(t, "the binding still follows", func() bool { return b.Get().N == 4 })
}

func TestHookThatBlocksDelaysNoDecoding(t *testing.T) {
	t.Parallel()
	wake := make(chan struct{})
	defer close(wake)
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	called := make(chan error, 10)
	block := func(err error) { called <- err; <-wake }
	refuse := func(n uint64) error {
		if n == 2 {
			return errors.New("two is refused")
		}
		return nil
	}
	decoded := client.Bind(c, "rude", client.Options[rude]{OnReject: block})
	validated := client.Bind(c, "polite", client.Options[number]{OnReject: block, Validate: func(n *number) error { return refuse(n.N) }})
	plain := client.BindKey(c, "rude", "N", 0, client.KeyOptions[int]{OnReject: block})
	do := errand(t, func([]byte) error { return refuse(2) })
	p.next(t, configs{"rude": rude{do, 2}, "polite": number{2}})
	for range 2 {
		_ = inTime(t, "the hook is called", called)
	}
	p.next(t, configs{"rude": configs{"N": "no number"}, "polite": number{3}})
	_ = inTime(t, "the hook of the third binding is called", called) // and that of the first one waits
	p.next(t, both("", 4))
	eventually(t, "the bindings follow", func() bool {
		return decoded.Get().N == 4 && validated.Get().N == 4 && plain.Get() == 4
	})
	must(t, c.Close())
}

// Contents of any size are followed, whether the follower decodes them itself
// or not.
func TestPlainTypesFollowContentsOfAnySize(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, configs{"a": "", "b": ""})
	c := open(t, p.dir())
	a, b := client.Bind[string](c, "a"), client.Bind[string](c, "b")
	for i, size := range []int{20_000, 0, 1, 25_000, 2} {
		text := strings.Repeat(string(rune('a'+i)), size)
		p.next(t, configs{"a": text, "b": text + text[:size/2]})
		eventually(t, "the bindings follow", func() bool { return *a.Get() == text && *b.Get() == text+text[:size/2] })
		text += "exact"
		p.next(t, configs{"a": text, "b": text})
		s := c.Snapshot()
		want(t, "In", *a.In(s), text)
		eventually(t, "the bindings follow", func() bool { return *a.Get() == text && *b.Get() == text })
	}
}

func TestCloseDoesNotWaitForUserCode(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}, 10), make(chan struct{})
	defer close(wake)
	do := errand(t, func([]byte) error { asleep <- struct{}{}; <-wake; return nil })
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	b := client.Bind(c, "rude", client.Options[rude]{Default: rude{N: 42}})
	p.next(t, both(do, 2))
	inTime(t, "the decoder sleeps", asleep)
	s := c.Snapshot()
	in := async(func() int { return b.In(s).N })
	lookup := async(func() error { _, err := b.Lookup(s); return err })
	generation := async(func() error { return c.WaitGeneration(t.Context(), 2) })
	bind := async(func() int { return client.Bind(c, "rude", client.Options[rude]{Default: rude{N: 42}}).Get().N })
	inTime(t, "a second binding's decoder sleeps", asleep)
	must(t, inTime(t, "Close returns", async(c.Close)))
	want(t, "In", inTime(t, "In returns", in), 1)
	wantRefused(t, inTime(t, "Lookup returns", lookup), client.ErrClosed, "rude", "", 2)
	wantError(t, inTime(t, "WaitGeneration returns", generation), client.ErrClosed)
	want(t, "Get of the second binding", inTime(t, "Bind returns", bind), 42)
	want(t, "Get", b.Get().N, 1)
}

// A decoder may use the client that it decodes for. What can't be is that it
// waits for itself; even that does not keep Close.
func TestUserCodeThatCallsBack(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, both("", 1))
	c := open(t, p.dir())
	b := client.Bind[rude](c, "rude")
	polite := client.Bind[number](c, "polite")
	seen := make(chan [4]uint64, 10)
	do := errand(t, func([]byte) error {
		s := c.Snapshot()
		d, err := c.Get("polite")
		if err != nil {
			return err
		}
		fresh := client.Bind[number](c, "polite")
		seen <- [4]uint64{s.Generation(), d.UintOr("N", 0), polite.In(s).N, fresh.Get().N}
		_ = c.Stats()
		_ = b.Get()
		return b.Err()
	})
	for n := 2; n < 10; n++ {
		g := p.next(t, both(do, n))
		must(t, c.WaitGeneration(t.Context(), g))
		want(t, "what the decoder saw", inTime(t, "it decodes", seen), [4]uint64{g, g, g, g})
		want(t, "Get", b.Get().N, n)
		must(t, b.Err())
	}
	goesOn(t, c, p, polite)
	// Else the next publication may supersede it before it is decoded.
	eventually(t, "the binding follows", func() bool { return b.Get().N == 1001 })

	inside := make(chan struct{}, 10)
	itself := errand(t, func([]byte) error {
		inside <- struct{}{}
		b.In(c.Snapshot())
		return nil
	})
	p.next(t, both(itself, 2000))
	inTime(t, "the decoder waits for itself", inside)
	p.next(t, configs{"polite": number{1002}, "rude": rude{itself, 2000}})
	eventually(t, "another binding follows", func() bool { return polite.Get().N == 1002 })
	want(t, "Get", b.Get().N, 1001)
	must(t, inTime(t, "Close returns", async(c.Close)))
}

func TestUserCodeThatCloses(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("rude", configs{"N": "no number"})
	for name, bind := range map[string]func(c *client.Client, done func()){
		"hook": func(c *client.Client, done func()) {
			client.Bind(c, "rude", client.Options[rude]{OnReject: func(error) { must(t, c.Close()); done() }})
		},
		"validation": func(c *client.Client, done func()) {
			client.Bind(c, "rude", client.Options[json.RawMessage]{
				Validate: func(*json.RawMessage) error { defer done(); return c.Close() },
			})
		},
	} {
		c := open(t, r.Dir())
		closed := make(chan struct{})
		bound := async(func() error {
			bind(c, func() { close(closed) })
			return nil
		})
		inTime(t, "Close returns in a "+name, closed)
		must(t, inTime(t, "Bind returns", bound))
		wantError(t, c.WaitGeneration(t.Context(), 1<<40), client.ErrClosed)
	}
}

func TestValidatorThatAlwaysRefuses(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(both("", 1))
	c := r.Client()
	errNo := errors.New("no")
	b := client.Bind(c, "rude", client.Options[rude]{Default: rude{N: 42}, Validate: func(*rude) error { return errNo }})
	polite := client.Bind[number](c, "polite")
	for n := 2; n < 20; n++ {
		g := r.Publish(both("", n))
		want(t, "Get", b.Get().N, 42)
		want(t, "In", b.In(c.Snapshot()).N, 42)
		want(t, "Get of the other one", polite.Get().N, uint64(n))
		wantRefused(t, b.Err(), errNo, "rude", "", g)
	}
	want(t, "Rejections", c.Stats().Rejections, 19)
}

func TestHookThatFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){
		"panic":  func() { panic("out of luck") },
		"goexit": runtime.Goexit,
	} {
		p := created(t, regionIn(t), 1, both("", 1))
		c := open(t, p.dir())
		called := make(chan error, 10)
		b := client.Bind(c, "rude", client.Options[rude]{OnReject: func(err error) { called <- err; fail() }})
		polite := client.Bind[number](c, "polite")
		for n, decode := range []func([]byte) error{
			func([]byte) error { return errors.New(name) },
			func([]byte) error { panic(name) },
			func([]byte) error { runtime.Goexit(); return nil },
		} {
			g := p.next(t, both(errand(t, decode), n))
			must(t, c.WaitGeneration(t.Context(), g))
			wantRefused(t, inTime(t, "the hook is called", called), errAny, "rude", "", g)
			want(t, "Get", b.Get().N, 1)
		}
		goesOn(t, c, p, polite)
		eventually(t, "the binding follows again", func() bool { return b.Get().N == 1001 })
	}
}
