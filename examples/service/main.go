// Service is a matchmaking service over HTTP that reads its configuration with
// StateSync. It is meant to be copied:
//
//   - config.go has the configuration as Go types, with defaults and validation.
//   - service.go binds it, and gives every request one generation of it.
//   - main.go opens the client and serves until a signal comes.
//
// To try it:
//
//	statesyncd --source dir:examples/config &
//	go run ./examples/service &
//	curl -d '{"player": "ada", "platform": "pc", "pool": "ranked", "elo": 1540}' localhost:8080/match
//	curl localhost:8080/debug/config
package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/statesync/statesync/client"
)

// shutdownTimeout bounds how long requests may take after a signal.
const shutdownTimeout = 10 * time.Second

func main() {
	region := flag.String("region", "", "the region's `directory`; $STATESYNC_REGION or the default region if empty")
	listen := flag.String("listen", "127.0.0.1:8080", "the `address` to listen on")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := net.Listen("tcp", *listen)
	if err == nil {
		err = run(l, *region, logger)
	}
	if err != nil {
		logger.Error("the service failed", "error", err)
		os.Exit(1)
	}
}

// run serves until SIGINT or SIGTERM, and returns when the requests that have begun
// are answered.
func run(l net.Listener, region string, logger *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// Lazy: the process starts without a region, and /readyz fails until the required
	// configs are there. A program that cannot start without them uses client.Wait.
	c, err := client.Open(region, client.Lazy(), client.WithLogger(logger))
	if err != nil {
		return err
	}
	defer c.Close()

	server := &http.Server{
		Handler:           newService(ctx, c).routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	logger.Info("listening", "address", l.Addr().String())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal ends the process at once
	logger.Info("shutting down")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return server.Shutdown(ctx)
}
