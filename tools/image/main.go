// Command image builds the container image of ackmark without a container engine, as an OCI layout:
// a directory that skopeo, crane, podman and registries' clients read. There is no base image. It
// holds the static binary, Mozilla's certificate authorities and the names of the user: the same
// sources make the same digest.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := build{}
	flag.StringVar(&b.source, "source", "../..", "the checkout")
	flag.StringVar(&b.out, "o", "../../dist/image", "the directory to write the OCI layout to; what is there is replaced")
	flag.StringVar(&b.version, "version", "0.0.0-dev", "the version label")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "what to build for, comma separated")
	flag.Parse()
	b.platforms = strings.Split(*platforms, ",")
	digest, err := b.run(ctx)
	if err != nil {
		log.Fatal("image: ", err)
	}
	fmt.Println(digest)
}
