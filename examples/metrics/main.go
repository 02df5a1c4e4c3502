// Metrics is a service that reads its settings with StateSync, and shows
// Prometheus how its own reading is doing.
//
//	statesyncd --source dir:examples/config &
//	go run ./examples/metrics
//	curl localhost:8080/metrics
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/statesync/statesync/client"
)

func main() {
	region := flag.String("region", "", "the region's `directory`; $STATESYNC_REGION or the default region if empty")
	listen := flag.String("listen", "127.0.0.1:8080", "the `address` that it answers on")
	flag.Parse()
	if err := run(*region, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

// run serves until a signal ends it.
func run(region, listen string) error {
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	c, err := client.Open(region, client.Lazy())
	if err != nil {
		return err
	}
	defer c.Close()
	elo := client.BindKey(c, "matchmaker", "weights.elo", 1500)

	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(c))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "weights.elo is", elo.Get())
	})
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("answering on", l.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
