"""Races and missing waits."""

from defect import ACROSS, COPY, FILLED, OUT, STAGED, race, wait

RACES = (
    race(
        "a read within warps before they have met",
        """
        %s = alloc_shared : shared<f32, [16, 16]>
        %t = load %x[0, 0] : reg<f32, [16, 16], #rows>
        store %s[0, 0], %t
        <<warp_barrier|>>
        %u = load %s[0, 0] : reg<f32, [16, 16], #turned>
        """
        + OUT,
    ),
    race(
        "a write within warps over what is still read",
        """
        %s = alloc_shared : shared<f32, [16, 16]>
        %t = load %x[0, 0] : reg<f32, [16, 16], #rows>
        store %s[0, 0], %t
        warp_barrier
        %u = load %s[0, 0] : reg<f32, [16, 16], #turned>
        <<warp_barrier|>>
        %v = full {fill = 5.0} : reg<f32, [16, 16], #rows>
        store %s[0, 0], %v
        """
        + OUT,
    ),
    race(
        "warps that meet alone where all must",
        STAGED + "<<barrier|warp_barrier>>\n" + ACROSS + OUT,
    ),
    race("read after write", STAGED + "<<barrier|>>\n" + ACROSS + OUT),
    race("write after read", FILLED + ACROSS + "<<barrier|>>\nstore %s[0, 0], %t\n" + OUT),
    race(
        "write after write",
        STAGED + "%u = load %x[0, 0] {dims = [1, 0]} : reg<f32, [16, 16], #columns>\n"
        "<<barrier|>>\nstore %s[0, 0], %u\n" + OUT,
    ),
    race(
        "the next turn of a loop",
        """
        %s = alloc_shared : shared<f32, [16, 16]>
        %t = load %x[0, 0] : reg<f32, [16, 16], #rows>
        for %k in 0 to %n {
          store %s[0, 0], %t
          barrier
        """
        + ACROSS
        + OUT
        + "<<barrier|>>\n}",
    ),
    race(
        "a barrier in the branch that is not taken",
        STAGED + "if %n > <<1|5>> {\nbarrier\n}\n" + ACROSS + OUT,
    ),
    race(
        "one buffer instead of two",
        """
        %s = alloc_shared : shared<f32, [2, 16, 16]>
        %t = load %x[0, 0] : reg<f32, [16, 16], #rows>
        for %k in 0 to %n {
          store %s[<<%k % 2|0>>, 0, 0], %t {dims = [1, 2]}
          barrier
          %u = load %s[<<%k % 2|0>>, 0, 0] {dims = [1, 2]} : reg<f32, [16, 16], #columns>
          store %y[0, 0], %u
        }
        """,
    ),
    race(
        "a sum of atomics read too early",
        FILLED + "atomic %s[0, 0], %t\n<<barrier|>>\n" + ACROSS + OUT,
    ),
    race(
        "an atomic on what is still read",
        FILLED + ACROSS + "<<barrier|>>\natomic %s[0, 0], %t\n" + OUT,
    ),
    race(
        "an atomic after a store",
        STAGED + "<<barrier|>>\n%c = load %x[0, 0] : reg<f32, [16, 16], #columns>\n"
        "atomic %s[0, 0], %c\n",
    ),
    race(
        "regions that overlap in one row",
        FILLED
        + """
        %h = load %x[0, 0] : reg<f32, [8, 16], #half>
        store %s[0, 0], %h
        %u = load %s[<<8|7>>, 0] : reg<f32, [8, 16], column_spatial(8, 8) * local(1, 2)>
        store %y[0, 0], %u
        """,
    ),
    race(
        "a copy over what is still read",
        FILLED
        + ACROSS
        + "<<barrier|>>\n"
        + """
        copy_async %s[0, 0], %x[0, 0] {shape = [16, 16]}
        copy_async_commit
        copy_async_wait
        barrier
        """
        + OUT,
    ),
    race(
        "a copy that only those who made it have waited for",
        """
        %s = alloc_shared : shared<f32, [16, 16]>
        copy_async %s[0, 0], %x[0, 0] {shape = [16, 16]}
        copy_async_commit
        copy_async_wait
        <<barrier|>>
        """
        + ACROSS
        + OUT,
    ),
    race(
        "matrices loaded too early",
        """
        %t = load %x[0, 0] : reg<f32, [16, 16], #columns>
        %c = cast %t {dtype = f16}
        %s = alloc_shared : shared<f16, [16, 16]>
        store %s[0, 0], %c
        <<barrier|>>
        %m = load_matrix %s[0, 0] : reg<f16, [16, 16]>
        %u = cast %m {dtype = f32}
        store %y[0, 0], %u
        """,
    ),
    race(
        "another block's memory read too early",
        STAGED
        + """
        <<cluster_barrier|barrier>>
        %u = load_remote %s[0, 0], 1 - cluster_rank : reg<f32, [16, 16], #rows>
        cluster_barrier
        """
        + "if block.x == 0 {\n"
        + OUT
        + "}\n",
        "may not be allocated yet",
        cluster=True,
    ),
    race(
        "a branch of which one side forgets the barrier",
        STAGED + "if %n > 5 {\nbarrier\n} else {\n<<barrier|>>\n}\n" + ACROSS + OUT,
    ),
)

TWO = """
    %s = alloc_shared : shared<f32, [2, 16, 16]>
    copy_async %s[0, 0, 0], %pages[0, 0, 0] {shape = [1, 16, 16]}
    copy_async_commit
    copy_async %s[1, 0, 0], %pages[0, 0, 0] {shape = [1, 16, 16]}
    copy_async_commit
"""
WAITS = (
    wait("no wait", COPY + "copy_async_commit\n<<copy_async_wait|>>\nbarrier\n" + ACROSS + OUT),
    wait(
        "a wait that leaves the newest group",
        COPY + "copy_async_commit\ncopy_async_wait {pending = <<0|1>>}\nbarrier\n" + ACROSS
        + OUT,
    ),
    wait(
        "no commit",
        COPY + "<<copy_async_commit|>>\ncopy_async_wait\nbarrier\n" + ACROSS + OUT,
    ),
    wait(
        "the second of two groups read after the first one's wait",
        TWO + """
        copy_async_wait {pending = 1}
        barrier
        %u = load %s[<<0|1>>, 0, 0] {dims = [1, 2]} : reg<f32, [16, 16], #columns>
        """ + OUT,
    ),
    wait(
        "a read before the wait",
        COPY + "copy_async_commit\n<<copy_async_wait\nbarrier|>>\n" + ACROSS
        + "copy_async_wait\nbarrier\n" + OUT,
    ),
    wait(
        "a wait in the branch that is not taken",
        COPY + "copy_async_commit\nif %n > <<1|5>> {\ncopy_async_wait\n}\nbarrier\n" + ACROSS
        + OUT,
    ),
    wait(
        "a ring that waits for one group too few",
        """
        %s = alloc_shared : shared<f32, [2, 4, 16]>
        copy_async %s[0, 0, 0], %pages[0, 0, 0] {shape = [1, 4, 16]}
        copy_async_commit
        for %k in 0 to 3 {
          copy_async %s[(%k + 1) % 2, 0, 0], %pages[0, %k * 4 + 4, 0] {shape = [1, 4, 16]}
          copy_async_commit
          copy_async_wait {pending = <<1|2>>}
          barrier
          %u = load %s[%k % 2, 0, 0] {dims = [1, 2]} : reg<f32, [4, 16], column_spatial(4, 16)>
          store %y[%k * 4, 0], %u
          barrier
        }
        copy_async_wait
        """,
    ),
    wait(
        "a store into a copy in flight",
        COPY + "copy_async_commit\n%t = load %x[0, 0] : reg<f32, [16, 16], #columns>\n"
        "<<copy_async_wait\nbarrier|>>\nstore %s[0, 0], %t\ncopy_async_wait\n",
        "race: block",
    ),
)  # fmt: skip
