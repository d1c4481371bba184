module github.com/hansomcloud/hansom/examples/thumbnails/resize

go 1.26
