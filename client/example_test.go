//go:build unix

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/statesync/statesync/client"
)

// Matchmaker is what an application makes of the config "matchmaker".
type Matchmaker struct {
	Weights struct {
		Elo  int     `json:"elo"`
		Ping float64 `json:"ping"`
	} `json:"weights"`
	Queues []string `json:"queues"`
}

// Flags is what it makes of the config "flags".
type Flags struct {
	NewQueue bool `json:"newQueue"`
}

func ExampleOpen() {
	region := startDaemon()
	defer region.stop()

	// "" is $STATESYNC_REGION, else /dev/shm/statesync/default. A client is
	// opened once, and shared by everything in the process.
	c, err := client.Open(region.Dir())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	weights := client.Bind[Matchmaker](c, "matchmaker")
	fmt.Println(weights.Get().Weights.Elo)
	// Output: 1500
}

// Without a daemon, on a developer's machine say, a lazy client serves the
// defaults. It follows as soon as there is a region.
func ExampleLazy() {
	c, err := client.Open("/dev/shm/statesync/nowhere", client.Lazy())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	elo := client.BindKey(c, "matchmaker", "weights.elo", 1200)
	fmt.Println(elo.Get())
	fmt.Println(errors.Is(elo.Err(), client.ErrNoRegion))
	// Output:
	// 1200
	// true
}

// A program that must not start without its configs waits for the daemon.
func ExampleWait() {
	_, err := client.Open("/dev/shm/statesync/nowhere", client.Wait(10*time.Millisecond))
	fmt.Println(errors.Is(err, client.ErrNoRegion))
	// Output: true
}

func ExampleBind() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	// Once, where the program starts.
	matchmaker := client.Bind[Matchmaker](c, "matchmaker")

	// In every request: one load, and never nil.
	m := matchmaker.Get()
	fmt.Println(m.Weights.Elo, m.Queues)

	region.change("matchmaker", `{"weights": {"elo": 1600, "ping": 0.5}, "queues": ["ranked"]}`)
	m = matchmaker.Get()
	fmt.Println(m.Weights.Elo, m.Queues)
	// Output:
	// 1500 [ranked casual]
	// 1600 [ranked]
}

func ExampleBindKey() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	elo := client.BindKey(c, "matchmaker", "weights.elo", 1200)
	timeout := client.BindKey(c, "matchmaker", "timeout", 30*time.Second) // which the config leaves out
	first := client.BindKey(c, "matchmaker", "queues.0", "")
	fmt.Println(elo.Get(), timeout.Get(), first.Get())
	// Output: 1500 30s ranked
}

// A value that is rejected leaves the one before it in place.
func ExampleOptions_validate() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	matchmaker := client.Bind(c, "matchmaker", client.Options[Matchmaker]{Validate: func(m *Matchmaker) error {
		if len(m.Queues) == 0 {
			return errors.New("there are no queues")
		}
		return nil
	}})
	region.change("matchmaker", `{"weights": {"elo": 1600}}`)
	fmt.Println(matchmaker.Get().Weights.Elo)
	fmt.Println(matchmaker.Err())
	// Output:
	// 1500
	// config matchmaker, generation 2: there are no queues
}

// A binding has its default until it accepts a value, and then what the config
// leaves out. A duration is a string with a unit.
func ExampleOptions_default() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	type limits struct {
		Players int           `json:"players"`
		Timeout time.Duration `json:"timeout"`
	}
	b := client.Bind(c, "limits", client.Options[limits]{Default: limits{Players: 8, Timeout: time.Minute}})
	fmt.Println(*b.Get(), b.Err())
	region.change("limits", `{"timeout": "5s"}`)
	fmt.Println(*b.Get(), b.Err())
	// Output:
	// {8 1m0s} config limits, generation 1: not found
	// {8 5s} <nil>
}

// Without Strict, a misspelt key would be ignored, as encoding/json does it.
func ExampleOptions_strict() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	region.change("flags", `{"newQeue": true}`)
	flags := client.Bind(c, "flags", client.Options[Flags]{Strict: true})
	fmt.Println(flags.Get().NewQueue)
	fmt.Println(flags.Err())
	// Output:
	// false
	// config flags, generation 2: newQeue: no such field in client_test.Flags; did you mean "newQueue"?
}

// OnReject is for what the program itself does about a rejected value. The client
// logs and counts it.
func ExampleOptions_onReject() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	rejected := make(chan error, 1)
	client.Bind(c, "flags", client.Options[Flags]{OnReject: func(err error) { rejected <- err }})
	region.change("flags", `{"newQueue": "yes"}`)
	err := <-rejected
	fmt.Println(errors.Is(err, client.ErrWrongType))
	// Output: true
}

// OnChange is for what has to be built anew from a config. It is called with the
// present value first, on a goroutine that is not Bind's: Ready waits for it. It is
// not called for the default.
func ExampleOptions_onChange() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	client.Bind(c, "matchmaker", client.Options[Matchmaker]{OnChange: func(change client.Changed[Matchmaker]) {
		if change.Old == nil {
			fmt.Println("began with", change.New.Queues)
			return
		}
		fmt.Println("changed from", change.Old.Queues, "to", change.New.Queues)
	}})
	_ = c.Ready(context.Background()) // returns when the hooks have returned
	region.change("matchmaker", `{"queues": ["ranked"]}`)
	_ = c.Ready(context.Background())
	// Output:
	// began with [ranked casual]
	// changed from [ranked casual] to [ranked]
}

// The loop has the newest accepted value each time, and no rejected one.
func ExampleBinding_Changes() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	matchmaker := client.Bind[Matchmaker](c, "matchmaker")

	for change := range matchmaker.Changes(context.Background()) {
		fmt.Println(change.Generation, change.New.Weights.Elo)
		if change.Generation == 3 {
			break
		}
		region.change("matchmaker", `{"weights": {"elo": "high"}}`) // which is rejected
		region.change("matchmaker", `{"weights": {"elo": 1700}}`)
	}
	// Output:
	// 1 1500
	// 3 1700
}

// Bindings is for a page that shows what a process runs with.
func ExampleClient_Bindings() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	client.Bind[Matchmaker](c, "matchmaker")
	client.BindKey(c, "matchmaker", "weights.ello", 1200)
	client.Bind[Flags](c, "flags")

	region.change("flags", `{"newQueue": "yes"}`)
	for _, b := range c.Bindings() {
		fmt.Printf("%s %q: %s, %d of %d %q\n", b.Config, b.Key, b.State, b.Accepted, b.Newest, b.Hint)
	}
	// Output:
	// matchmaker "": current, 1 of 1 ""
	// matchmaker "weights.ello": default, 1 of 1 "no such key; did you mean weights.elo"
	// flags "": rejected, 1 of 2 ""
}

// A readiness probe fails while a value is rejected, or a required config is not
// there, and says which.
func ExampleClient_Ready() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	client.Bind(c, "limits", client.Options[Flags]{Required: true})

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	fmt.Print(answer.Code, " ", answer.Body)
	// Output: 503 config limits, generation 1: not found
}

// What belongs together is read through one snapshot: two Gets may see two
// generations.
func ExampleBinding_In() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	matchmaker, flags := client.Bind[Matchmaker](c, "matchmaker"), client.Bind[Flags](c, "flags")

	snapshot := c.Snapshot() // at the beginning of a request
	region.change("matchmaker", `{"weights": {"elo": 1600}}`)
	region.change("flags", `{"newQueue": true}`)

	fmt.Println(matchmaker.In(snapshot).Weights.Elo, flags.In(snapshot).NewQueue)
	fmt.Println(matchmaker.In(c.Snapshot()).Weights.Elo, flags.In(c.Snapshot()).NewQueue)
	// Output:
	// 1500 false
	// 1600 true
}

// Lookup says why a value is not that of the snapshot's generation.
func ExampleBinding_Lookup() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	flags := client.Bind[Flags](c, "flags")

	region.change("flags", `{"newQueue": "yes"}`)
	value, err := flags.Lookup(c.Snapshot())
	fmt.Println(value.NewQueue)
	fmt.Println(err)
	// Output:
	// false
	// config flags, generation 2: newQueue: cannot decode string into bool
}

func ExampleClient_Snapshot() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	fmt.Println(c.Snapshot().Generation())
	region.change("flags", `{"newQueue": true}`)
	fmt.Println(c.Snapshot().Generation()) // what was published is in it, without a wait
	// Output:
	// 1
	// 2
}

// A config can also be read key by key, without a type of its own.
func ExampleClient_Get() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	doc, err := c.Get("matchmaker")
	if err != nil {
		fmt.Println(err)
		return
	}
	elo, err := doc.Int("weights.elo")
	fmt.Println(elo, err)
	fmt.Println(doc.IntOr("weights.age", 7))
	_, err = doc.Int("queues")
	fmt.Println(errors.Is(err, client.ErrWrongType))
	fmt.Println(string(doc.JSON()))
	// Output:
	// 1500 <nil>
	// 7
	// true
	// {"queues":["ranked","casual"],"weights":{"elo":1500,"ping":0.25}}
}

// The loop's first turn has the present state.
func ExampleClient_Watch() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	for change := range c.Watch(context.Background(), "flags") {
		fmt.Println(change.From, change.To, change.Doc.BoolOr("newQueue", false))
		if change.From > 0 {
			break
		}
		region.change("flags", `{"newQueue": true}`)
	}
	// Output:
	// 0 1 false
	// 1 2 true
}

func ExampleClient_WatchKey() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	for change := range c.WatchKey(context.Background(), "matchmaker", "weights.elo") {
		fmt.Println(change.Doc.IntOr("weights.elo", 0))
		if change.From > 0 {
			break
		}
		region.change("flags", `{"newQueue": true}`)
		region.change("matchmaker", `{"weights": {"elo": 1600}}`)
	}
	// Output:
	// 1500
	// 1600
}

// All that a request calls reads the generation that it began with.
func ExampleNewContext() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	elo := client.BindKey(c, "matchmaker", "weights.elo", 1200)

	handle := func(ctx context.Context) {
		fmt.Println(elo.In(client.FromContext(ctx)))
	}
	ctx := client.NewContext(context.Background(), c.Snapshot())
	region.change("matchmaker", `{"weights": {"elo": 1600}}`)
	handle(ctx)
	handle(context.Background()) // has no snapshot: In is Get
	// Output:
	// 1500
	// 1600
}

// Code that has just one region needs no client of its own.
func ExampleGet() {
	// $STATESYNC_REGION, or /dev/shm/statesync/default
	doc, err := client.Get("no such config")
	if errors.Is(err, client.ErrNoRegion) || errors.Is(err, client.ErrNotFound) {
		fmt.Println("the default:", doc.IntOr("weights.elo", 1200))
	}
	// Output: the default: 1200
}

// A rollout waits until a process has taken over what was published.
func ExampleClient_WaitGeneration() {
	region := startDaemon()
	defer region.stop()
	c := region.client()
	flags := client.Bind[Flags](c, "flags")

	region.change("flags", `{"newQueue": true}`)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(c.WaitGeneration(ctx, 2), flags.Get().NewQueue)
	// Output: <nil> true
}

func ExampleClient_Stats() {
	region := startDaemon()
	defer region.stop()
	c := region.client()

	stats := c.Stats()
	fmt.Println(stats.Generation, stats.DaemonAlive, stats.Err)
	// Output: 1 true <nil>
}

// daemon stands for statesyncd and the directory that it publishes.
type daemon struct {
	*publisher
	files   configs
	clients []*client.Client
}

// startDaemon publishes two configs, as generation 1.
func startDaemon() *daemon {
	temp, err := os.MkdirTemp("", "example-")
	check(err)
	p, err := newPublisher(filepath.Join(temp, "region"), small)
	check(err)
	d := &daemon{publisher: p, files: configs{
		"matchmaker": json.RawMessage(`{"weights": {"elo": 1500, "ping": 0.25}, "queues": ["ranked", "casual"]}`),
		"flags":      json.RawMessage(`{"newQueue": false}`),
	}}
	check(d.create(1, d.files))
	return d
}

// Dir is the region's directory.
func (d *daemon) Dir() string { return d.dir() }

// client is what client.Open gives.
func (d *daemon) client() *client.Client {
	c, err := client.Open(d.Dir())
	check(err)
	d.clients = append(d.clients, c)
	return c
}

// change changes a config, and waits until the clients have taken it over.
func (d *daemon) change(name, text string) {
	d.files[name] = json.RawMessage(text)
	check(d.publish(d.files))
	for _, c := range d.clients {
		check(c.WaitGeneration(context.Background(), d.current.Generation()))
	}
}

func (d *daemon) stop() {
	for _, c := range d.clients {
		check(c.Close())
	}
	dir := d.Dir()
	check(d.Close())
	check(os.RemoveAll(filepath.Dir(dir)))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
