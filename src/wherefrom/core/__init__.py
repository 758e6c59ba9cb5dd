"""What every other package is built on; nothing here opens an image or defines a network.

`config`: settings of methods.  `errors`: errors that a user can cause.  `limits`: bounds on images.
`progress`: what the library reports.  `optional`: packages that may be missing.  `paths`,
`reading`: paths and open files.  `rng`: seeds.  `saving`: artifacts, databases, JSON.  `compute`:
devices, threads, precision, and passes of one fixed size.
"""
