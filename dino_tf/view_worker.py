"""A process that draws views and nothing else; see `dino_tf.view_processes`.

It imports neither TensorFlow nor Keras, so that it starts at once and is small. (Photos
that are no JPEG are decoded by TensorFlow all the same, at the first of which it is
imported.)
"""

import mmap
import os
import pickle
import signal
import struct
import sys
import traceback

import numpy as np

from .transforms.jpeg import try_decode_photo

# Both integers of the seed; height and width where pixels follow, else 0; whether the
# pixels are wanted back; bytes that follow.
REQUEST = struct.Struct("<qqIIIQ")
# What became of it, height and width of the photo that follows, bytes that follow.
REPLY = struct.Struct("<IIIQ")
DONE, REFUSED, FAILED = range(3)


def main():
    """Answers requests until the stream of them ends."""
    # An interrupt is for the training, which then ends the stream.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What a decoder prints shall not be taken for a reply.
    os.dup2(2, 1)
    views, margin, descriptor = pickle.load(requests)
    reduction = views.reduction_with(margin)
    shared = mmap.mmap(descriptor, 0)
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        *seed, height, width, wanted, length = REQUEST.unpack(head)
        data = requests.read(length)
        try:
            if height:
                image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            else:
                image, reason = try_decode_photo(lambda d=data: d, reduction)
            if image is None:
                _reply(replies, REFUSED, text=reason)
                continue
            _share(shared, views.draw(image, seed))
            _reply(replies, DONE, image if wanted else None)
        except Exception:
            _reply(replies, FAILED, text=traceback.format_exc())


def _share(shared, views):
    place = 0
    for pixels in views.values():
        shared[place : place + pixels.nbytes] = pixels.data.cast("B")
        place += pixels.nbytes


def _reply(replies, state, image=None, text=""):
    height, width = (0, 0) if image is None else image.shape[:2]
    data = text.encode() if image is None else image.tobytes()
    replies.write(REPLY.pack(state, height, width, len(data)))
    replies.write(data)
    replies.flush()
