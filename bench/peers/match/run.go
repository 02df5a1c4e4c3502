package match

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/scaling/cost"
)

const (
	firstVersion = 1
	startup      = 10 * time.Second // for a process to be ready
	longest      = 15 * time.Second // for a change to be served, by the slowest way
)

// service is the matchmaking service of one mode, and the load's way to it.
type service struct {
	child  *process.Process
	url    string
	client *http.Client

	newest atomic.Int64  // version in an answer
	news   chan struct{} // it is another one
}

func startService(ctx context.Context, w way) (*service, error) {
	arg, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	child, err := process.Start(ctx, servicePart, string(arg))
	if err != nil {
		return nil, fmt.Errorf("the service in mode %s: %w", w.Mode, err)
	}
	return &service{
		child: child, url: "http://" + child.Address, news: make(chan struct{}, 1),
		client: &http.Client{
			Timeout:   5 * configDeadline, // the service answers long before
			Transport: &http.Transport{MaxIdleConnsPerHost: 4096},
		},
	}, nil
}

func (s *service) stop() error {
	s.client.CloseIdleConnections()
	return s.child.Stop()
}

// get is the body of an answer that is not an error.
func (s *service) get(path string) ([]byte, error) {
	response, err := s.client.Get(s.url + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}

// request asks for a match.
func (s *service) request(ticket uint64) answer {
	body, err := s.get(fmt.Sprintf("/match?ticket=%d", ticket))
	if err != nil {
		return answer{err: err}
	}
	var a answer
	var player int
	if _, err := fmt.Sscanf(string(body), "%d %d", &a.version, &player); err != nil {
		return answer{err: fmt.Errorf("the answer %q: %w", body, err)}
	}
	for {
		newest := s.newest.Load()
		if int64(a.version) <= newest {
			return a
		}
		if s.newest.CompareAndSwap(newest, int64(a.version)) {
			select {
			case s.news <- struct{}{}:
			default:
			}
			return a
		}
	}
}

// await waits until a version was served.
func (s *service) await(ctx context.Context, version int) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for s.newest.Load() < int64(version) {
		select {
		case <-s.news:
		case <-ctx.Done():
			return fmt.Errorf("version %d was not served within %s, the newest was %d: %w", version, longest, s.newest.Load(), ctx.Err())
		}
	}
	return nil
}

func (s *service) usage() (u usage, err error) {
	body, err := s.get("/usage")
	if err == nil {
		err = json.Unmarshal(body, &u)
	}
	return u, err
}

// load is an open loop under way.
type load struct {
	*service
	start   time.Duration
	end     context.CancelFunc
	done    sync.WaitGroup
	samples []sample // once it has ended
}

func (s *service) load(rate float64, seed uint64) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{service: s, start: cost.Monotonic(), end: cancel}
	var ticket atomic.Uint64
	l.done.Go(func() {
		l.samples = openLoop(ctx, l.start, arrivals(rate, seed), func() answer { return s.request(ticket.Add(1)) })
	})
	return l
}

func (l *load) now() time.Duration { return cost.Monotonic() - l.start }

func (l *load) stop() []sample {
	l.end()
	l.done.Wait()
	return l.samples
}

// watch says what is spent while fn runs.
func (l *load) watch(m *mode, fn func() error) (spent, error) {
	pids := append([]int{l.child.Pid()}, m.pids...)
	cpu := func() (service, stack time.Duration, err error) {
		if service, err = cost.CPU(pids[0]); err == nil {
			stack, err = cost.TotalCPU(pids)
		}
		return service, stack, err
	}
	if _, err := l.usage(); err != nil {
		return spent{}, err
	}
	service, stack, err := cpu()
	if err != nil {
		return spent{}, err
	}
	var s spent
	s.window.from = l.now()
	if err := fn(); err != nil {
		return s, err
	}
	s.window.to = l.now()
	s.For = s.window.length()
	after, all, err := cpu()
	if err != nil {
		return s, err
	}
	s.Service, s.Stack = after-service, all-stack
	s.Usage, err = l.usage()
	return s, err
}
