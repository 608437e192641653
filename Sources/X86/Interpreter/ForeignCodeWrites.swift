import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Ranges of code that DMA or another CPU has overwritten, waiting for this CPU to reach a block boundary. Bounded:
/// when it is full, everything is dropped instead.
final class ForeignCodeWrites: @unchecked Sendable {
  private static let capacity = 256
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let ranges: UnsafeMutablePointer<(UInt64, Int)>
  private var count = 0
  private var overflowed = false

  init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    ranges = .allocate(capacity: Self.capacity)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    ranges.deallocate()
  }

  func add(_ physical: UInt64, _ length: Int) {
    pthread_mutex_lock(mutex)
    if count < Self.capacity {
      (ranges + count).initialize(to: (physical, length))
      count += 1
    } else {
      overflowed = true
    }
    pthread_mutex_unlock(mutex)
  }

  /// Empties the list into `body`. Returns false when some ranges are not known.
  func drain(_ body: (UInt64, Int) -> Void) -> Bool {
    pthread_mutex_lock(mutex)
    for index in 0..<count { body(ranges[index].0, ranges[index].1) }
    let complete = !overflowed
    count = 0
    overflowed = false
    pthread_mutex_unlock(mutex)
    return complete
  }
}

extension CPU {
  /// DMA or another CPU has written a page with `memory.codePages` set. Callable from any thread; the bytes do not
  /// cross a page. Takes effect at this CPU's next block boundary.
  public func codeOverwritten(physical: UInt64, length: Int) {
    code.foreignWrites.add(physical, length)
    post(UInt32(VM_PENDING_CODE))
  }

  /// Drops the code that `codeOverwritten` has reported. VM_PENDING_CODE is withdrawn before.
  func dropForeignCode() {
    let complete = code.foreignWrites.drain { physical, length in codeWritten(physical: physical, length: length) }
    if !complete { flushCode() }
  }
}
