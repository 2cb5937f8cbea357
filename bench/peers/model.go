package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"

	"proxima/internal/modelserver"
)

// modelServerVariable makes a process a simulated model server; it holds the
// settings as JSON.
const modelServerVariable = "PROXIMA_BENCH_MODEL_SERVER"

// ModelServer reports whether this process was started to be a model server of a
// World. If so it was one until ctx ended or the process that started it was gone,
// and err says what went wrong.
func ModelServer(ctx context.Context) (was bool, err error) {
	text, was := os.LookupEnv(modelServerVariable)
	if !was {
		return false, nil
	}
	var settings regionServer
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return true, fmt.Errorf("read %s: %w", modelServerVariable, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with the process at the latest
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return true, settings.serve(ctx, os.NewFile(inherited, "socket"))
}

// regionServer is what the process of a region is told.
type regionServer struct {
	Bare  bool
	Model modelserver.Settings
}

func (s regionServer) serve(ctx context.Context, socket *os.File) error {
	if s.Bare {
		return serveBare(ctx, socket)
	}
	listener, err := net.FileListener(socket)
	if err != nil {
		return fmt.Errorf("take over the socket of %s: %w", s.Model.Region, err)
	}
	return modelserver.New(s.Model).Serve(ctx, listener)
}

// start starts the region's model server and notes its address.
func (r *Region) start(ctx context.Context, folder string, core *int) (*Process, error) {
	r.Model.Region = r.Name
	settings, err := json.Marshal(regionServer{r.Bare, r.Model})
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, socket, err := listen()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	process, err := command{
		name: "model-server-" + r.Name, path: program, socket: socket, core: core,
		env: []string{modelServerVariable + "=" + string(settings)},
	}.start(ctx, folder)
	if err != nil {
		return nil, err
	}
	r.Address, r.Server, process.URL = address, process, "http://"+address
	return process, process.answers(ctx)
}
