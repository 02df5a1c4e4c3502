package scaling

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/bench/peers/scaling/statesyncd"
)

func TestCrowd(t *testing.T) {
	points, m, err := measureCrowd(t.Context(), []int{1, 3}, 1, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if len(points) != 2 || points[1].Readers != 3 {
		t.Fatalf("the points are %+v", points)
	}
	for _, p := range points {
		for what, v := range map[string][]float64{
			"get": p.Get, "in": p.In, "in, publishing": p.InPublishing, "publish": p.Publish, "change": p.Change,
		} {
			if len(v) != 1 || v[0] <= 0 {
				t.Errorf("%d readers: %s is %v", p.Readers, what, v)
			}
		}
	}
	if m.Readers != 3 || m.Region < m.Image || m.Reader.RSS < m.Reader.PSS || m.Reader.PSS <= 0 || m.Bare.PSS <= 0 {
		t.Errorf("the memory is %+v", m)
	}
}

// TestGrowth measures the smallest shape of each line, and that a reader of one
// config sees the changes that are said to be made.
func TestGrowth(t *testing.T) {
	for _, line := range lines {
		p, err := line.shape(line.points[0]).measure(t.Context(), pace{most: 10, time: time.Second})
		if err != nil {
			t.Fatalf("%s: %v", line.name, err)
		}
		if p.X != line.points[0] || p.Image <= 0 || p.Region < p.Image || p.Publish <= 0 || p.Refresh <= 0 || p.ByName <= 0 {
			t.Errorf("%s: %+v", line.name, p)
		}
	}
}

func TestShapes(t *testing.T) {
	for _, test := range []struct {
		shape shape
		want  int // configs
	}{{imageShape(1<<10, used, other), 3}, {configsShape(1, other), 2}, {configsShape(100, used), 100}, {keysShape(10), 1}} {
		sections, err := test.shape.sections()
		if err != nil || len(sections) != test.want {
			t.Errorf("%d configs (%v), want %d", len(sections), err, test.want)
		}
		one, err := test.shape.changed(1)
		if err != nil {
			t.Fatal(err)
		}
		two, err := test.shape.changed(2)
		if err != nil || one.Name() != two.Name() || string(one.Content()) == string(two.Content()) {
			t.Errorf("%s does not change (%v)", one.Name(), err)
		}
	}
}

func TestDaemon(t *testing.T) {
	binary, err := statesyncd.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plan := daemonPlan{rates: []float64{20}, idle: 100 * time.Millisecond, busy: 200 * time.Millisecond}
	p, err := plan.measure(t.Context(), 2, binary, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if p.Files != 2 || p.Memory.RSS <= 0 || len(p.Rates) != 1 || p.Rates[0].Changes == 0 || p.Rates[0].Seen == 0 || p.Rates[0].Busy <= 0 {
		t.Errorf("the daemon's point is %+v", p)
	}
}

func TestPolls(t *testing.T) {
	p, err := measurePolls(t.Context(), 2, t.TempDir(), t.Logf)
	if errors.Is(err, errNoGit) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p.Poll.Requests < 1 || p.Poll.Bytes <= 0 || p.Poll.CPU <= 0 || p.Change.Bytes <= p.Poll.Bytes || p.Change.Requests < p.Poll.Requests {
		t.Errorf("the polls are %+v", p)
	}
}

func TestRender(t *testing.T) {
	r := result{
		Crowd:  []crowdPoint{{Readers: 200, Get: []float64{0.5}, In: []float64{10}, InPublishing: []float64{12}, Publish: []float64{1e5}, Change: []float64{4e6}}},
		Memory: &memory{Image: 1 << 20, Region: 4 << 20, Readers: 200},
		Growth: map[string][]growthPoint{lines[0].name: {{X: 1 << 10, Image: 2 << 10, Region: 40 << 10, Publish: 1e4, Refresh: 400, ByName: 20}}},
		Daemon: []daemonPoint{{Files: 10_000, Idle: 0.01, Rates: []ratePoint{{Rate: 10, Changes: 40, Seen: 40, Busy: 0.03}}}},
		Polls:  &polls{Files: 100, Poll: asked{2, 500, 5e6}, Change: asked{4, 5000, 20e6}},
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	page, err := Section{}.Render(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 200 | 0.50 ns | 2000 million |", "| 1 KiB | 2 KiB | 40 KiB | another part changes |", "| 10,000 |  |  | 10 | 40 of 40 | 3 % | 2.00 ms |"} {
		if !strings.Contains(page.Markdown, want) {
			t.Errorf("the section has no %q:\n%s", want, page.Markdown)
		}
	}
	block, err := Block(raw, "charts")
	if err != nil {
		t.Fatal(err)
	}
	// 100,000 hosts in 10 s, two requests and 5 ms each; a fetch of 5,000 bytes.
	for _, want := range []string{"| 10 s | 10,000 | 20,000 | 4.768 MiB/s | 50 | 200 |", "476.8 MiB", "1000 processors"} {
		if !strings.Contains(block, want) {
			t.Errorf("the block has no %q:\n%s", want, block)
		}
	}
}
