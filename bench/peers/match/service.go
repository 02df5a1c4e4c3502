package match

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/process"
)

// servicePart is the matchmaking service: a process of its own.
var servicePart = process.Register("match-service", runService)

// runService serves until it is told to stop. Its argument is a way in JSON.
func runService(ctx context.Context, args []string, _ *bufio.Reader, out io.Writer) error {
	var w way
	if len(args) != 1 {
		return fmt.Errorf("%d arguments, want the way in JSON", len(args))
	}
	if err := json.Unmarshal([]byte(args[0]), &w); err != nil {
		return err
	}
	p, err := w.open()
	if err != nil {
		return err
	}
	defer p.close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newService(p)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	err = process.Ready(out, listener.Addr().String())
	if err == nil {
		<-ctx.Done()
	}
	_ = server.Close()
	serving.Wait()
	return err
}

// newService answers /match?ticket=N with the version of the settings that it
// used and the best match, and /usage with its usage since it was last asked.
func newService(p provider) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/match", func(w http.ResponseWriter, r *http.Request) {
		ticket, err := strconv.ParseUint(r.URL.Query().Get("ticket"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), configDeadline)
		defer cancel()
		s, err := p.settings(ctx)
		if err != nil { // no settings, no match
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%d %d", config.Version(s.Version), match(s, ticket))
	})
	var mutex sync.Mutex
	usage := newMeter()
	mux.HandleFunc("/usage", func(w http.ResponseWriter, _ *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		_ = json.NewEncoder(w).Encode(usage.read(p.reads()))
	})
	return mux
}
