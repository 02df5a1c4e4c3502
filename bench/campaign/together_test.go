//go:build linux

package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/image"
)

var togetherUpdates = flag.Int("together.updates", 5_000, "how many publications TestTogether makes")

// togetherReaders is how many processes read.
const togetherReaders = 2

func init() {
	roles["together-publish"] = togetherPublish
	roles["together-read"] = togetherRead
}

// togetherConfig is what both configs are. Their numbers are always the same.
type togetherConfig struct {
	Number int `json:"number"`
}

// togetherResult is what a reader counted.
type togetherResult struct {
	Snapshots, Generations int // looks at two configs of one snapshot; at a new one each
	Apart                  int // of them that did not belong together
	Gets, GetsApart        int // the same with Get
}

// TestTogether has two configs change together, as fast as they can be
// published. One snapshot never shows them apart. Two separate Gets do, and
// must: otherwise the test would not show that snapshots make a difference.
func TestTogether(t *testing.T) {
	region := filepath.Join(memory(t), "region")
	publisher := spawn(t, "together-publish", region, strconv.Itoa(*togetherUpdates))
	var readers []*process
	for range togetherReaders {
		r := spawn(t, "together-read", region)
		if line := <-r.Lines; line != "ready" {
			t.Fatalf("a reader said %q in place of ready: %s", line, r.log())
		}
		readers = append(readers, r)
	}
	// It publishes until it has made its updates and every reader has seen two
	// Gets come apart, which a reader says once.
	for _, r := range readers {
		select {
		case line := <-r.Lines:
			if line != "apart" {
				t.Fatalf("a reader said %q in place of having seen two Gets come apart: %s", line, r.log())
			}
		case <-time.After(10 * patience):
			t.Fatal("two Gets never came apart")
		}
	}
	updates := 0
	for _, line := range publisher.finish(t) {
		if _, err := fmt.Sscanf(line, "updates %d", &updates); err != nil {
			t.Fatalf("the publisher said %q", line)
		}
	}
	if updates < *togetherUpdates {
		t.Fatalf("%d updates of %d", updates, *togetherUpdates)
	}
	var sum togetherResult
	for _, r := range readers {
		lines := r.finish(t)
		if len(lines) == 0 {
			t.Fatalf("a reader ended without a word: %s", r.log())
		}
		var one togetherResult
		ok(t, json.Unmarshal([]byte(lines[len(lines)-1]), &one))
		sum.Snapshots += one.Snapshots
		sum.Generations += one.Generations
		sum.Apart += one.Apart
		sum.Gets += one.Gets
		sum.GetsApart += one.GetsApart
		if one.Generations == 0 || one.GetsApart == 0 {
			t.Errorf("a reader proved nothing: %+v", one)
		}
	}
	if sum.Apart > 0 {
		t.Errorf("%d of %d snapshots had configs of two generations", sum.Apart, sum.Snapshots)
	}
	report(t, "what is read through one Snapshot belongs together",
		fmt.Sprintf("%d updates of two configs flat out, %d readers, %d pairs of In in %d snapshots of other generations; and %d pairs of Get",
			updates, togetherReaders, sum.Snapshots, sum.Generations, sum.Gets),
		fmt.Sprintf("%d pairs of In apart; %d pairs of Get apart, as documented", sum.Apart, sum.GetsApart))
}

// togetherPublish makes a number of updates, and continues until its context
// ends. Arguments are the region's directory and the number.
func togetherPublish(ctx context.Context, args []string) error {
	least, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	p, err := newPublisher(ctx, args[0])
	if err != nil {
		return err
	}
	n := 1
	for ; n <= least || ctx.Err() == nil; n++ {
		var sections []*image.Section
		for _, name := range []string{"left", "right"} {
			section, err := image.NewDocument(name, fmt.Appendf(nil, `{"number":%d}`, n))
			if err != nil {
				return err
			}
			sections = append(sections, section)
		}
		if err := p.publish(uint64(n), "together", sections); err != nil {
			return err
		}
	}
	fmt.Printf("updates %d\n", n-1)
	return p.Close()
}

// togetherRead reads both configs both ways until its context ends.
func togetherRead(ctx context.Context, args []string) error {
	c, err := client.Open(args[0], client.Wait(patience))
	if err != nil {
		return err
	}
	left, right := client.Bind[togetherConfig](c, "left"), client.Bind[togetherConfig](c, "right")
	fmt.Println("ready")
	var r togetherResult
	for last := uint64(0); ctx.Err() == nil; {
		s := c.Snapshot()
		l, errLeft := left.Lookup(s)
		m, errRight := right.Lookup(s)
		if err := errors.Join(errLeft, errRight); err != nil {
			return err
		}
		r.Snapshots++
		if l.Number != m.Number || uint64(l.Number) != s.Generation() || left.In(s) != l || right.In(s) != m {
			r.Apart++
		}
		if s.Generation() < last {
			return fmt.Errorf("generation %d after %d", s.Generation(), last)
		}
		if s.Generation() > last {
			last = s.Generation()
			r.Generations++
		}
		for range 4 {
			r.Gets++
			if left.Get().Number != right.Get().Number {
				if r.GetsApart++; r.GetsApart == 1 {
					fmt.Println("apart")
				}
			}
		}
	}
	if err := c.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(&r)
}
