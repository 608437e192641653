import DiskImages
import Foundation
import GuestMemory
import SavedState

/// The block device of virtio with its medium. The host's reads and writes are done by a `DiskWorker`, one after the other,
/// while the guest runs on; guest memory is read before them and written after them, under the machine lock.
///
/// Source: virtio 1.2, 5.2. A saved state has no requests under way: a pause waits for those that are.
public final class VirtioBlock: VirtioPCI, Device {
  public let name: String
  private let image: any DiskImage
  private let serial: String
  private let worker: any DiskWorker
  private var core: VirtioBlockCore

  /// What requests under way may hold in memory, bytes.
  private static let bytesUnderWay = 2 * VirtioBlockCore.dataLimit
  /// Requests that one look into the queue begins.
  private static let requestsAtOnce = 128
  private static let queueSize: UInt16 = 256

  /// Requests under way, and bytes that they move.
  private var underWay = 0
  private var bytes = 0
  /// There are more than may be under way: looked at again when one is done.
  private var isFull = false
  /// Counts resets: what was begun before one is nobody's afterwards.
  private var epoch = 0

  /// - Parameters:
  ///   - name: "virtio-disk1".
  ///   - serial: at most 20 characters of ASCII.
  public init(
    name: String, image: any DiskImage, serial: String, memory: PhysicalMemory, ports: PortBus, clock: GuestClock,
    fabric: InterruptFabric, worker: any DiskWorker
  ) {
    self.name = name
    self.image = image
    self.serial = serial
    self.worker = worker
    core = VirtioBlockCore(sectors: image.sectorCount, isReadOnly: image.isReadOnly)
    super.init(
      name: name,
      Kind(
        type: 2, deviceID: 0x1001, classCode: 0x010000,
        features: VirtioBlockCore.Feature.all(isReadOnly: image.isReadOnly), queueSizes: [Self.queueSize],
        configurationBytes: VirtioBlockCore.configurationBytes), memory: memory, ports: ports, clock: clock,
      fabric: fabric)
  }

  override var deviceConfiguration: [UInt8] { core.configuration }

  override func writeDeviceConfiguration(_ offset: Int, _ value: UInt8) {
    guard offset == 32, features.contains(VirtioBlockCore.Feature.writeCache) else { return }
    core.hasWriteCache = value & 1 != 0
  }

  override func resetDevice() {
    core.hasWriteCache = true
    epoch += 1
    (underWay, bytes, isFull) = (0, 0, false)
  }

  // MARK: Requests

  override func serve(_ queue: Int) {
    isFull = false
    for _ in 0..<Self.requestsAtOnce {
      guard underWay < Int(Self.queueSize), bytes < Self.bytesUnderWay else {
        isFull = true
        return
      }
      guard let chain = next(0) else { return }
      begin(chain)
    }
    goOnLater()
  }

  private func begin(_ chain: VirtioChain) {
    // Without a byte for the status there is nothing that could be said (5.2.6).
    guard chain.writableBytes > 0 else { return breakDown() }
    let most = VirtioBlockCore.headerLength + 16 * VirtioBlockCore.rangeLimit
    let request = core.request(
      chain.read(most, memory: memory), outLength: chain.readableBytes - VirtioBlockCore.headerLength,
      inLength: chain.writableBytes - 1, features)
    switch request {
    case .refused(let status): finish(chain, status)
    case .identify:
      let id = Array(serial.utf8.prefix(VirtioBlockCore.serialLength))
      let padding = [UInt8](repeating: 0, count: VirtioBlockCore.serialLength - id.count)
      chain.write(id + padding, memory: memory)
      finish(chain, .done, written: VirtioBlockCore.serialLength)
    case .read(let stretch): submit(chain, Job(request, image, bytes: Int(stretch.count)))
    case .write(let stretch):
      let job = Job(request, image, bytes: Int(stretch.count))
      chain.read(from: VirtioBlockCore.headerLength, into: job.buffer, memory: memory)
      job.flushesAfterwards = isWriteThrough
      submit(chain, job)
    case .flush: submit(chain, Job(request, image))
    case .discard, .writeZeroes:
      let job = Job(request, image)
      job.flushesAfterwards = isWriteThrough
      submit(chain, job)
    }
  }

  /// A driver that does not flush counts on what is written being written (5.2.6.2).
  private var isWriteThrough: Bool {
    !core.hasWriteCache || !features.contains(VirtioBlockCore.Feature.flush)
  }

  private func submit(_ chain: VirtioChain, _ job: Job) {
    let began = epoch
    underWay += 1
    bytes += job.buffer.count
    worker.submit {
      job.run()
    } completion: { [self] in
      guard began == epoch else { return }
      underWay -= 1
      bytes -= job.buffer.count
      var written = 0
      if case .read = job.request, job.status == .done {
        written = chain.write(UnsafeRawBufferPointer(job.buffer), memory: memory)
      }
      finish(chain, job.status, written: written)
      if isFull, canServe { serve(0) }
    }
  }

  /// Puts the status into the last byte of the chain and gives it back.
  private func finish(_ chain: VirtioChain, _ status: VirtioBlockCore.Status, written: Int = 0) {
    guard transport.isReady else { return }
    chain.write([status.rawValue], at: chain.writableBytes - 1, memory: memory)
    give(0, chain.head, written: written + 1)
    tell(0)
  }

  /// A request as the worker does it, with its data. Touched by one thread at a time: who has it, owns it.
  private final class Job: @unchecked Sendable {
    let request: VirtioBlockCore.Request
    private let image: any DiskImage
    let buffer: UnsafeMutableRawBufferPointer
    var flushesAfterwards = false
    private(set) var status = VirtioBlockCore.Status.failed

    init(_ request: VirtioBlockCore.Request, _ image: any DiskImage, bytes: Int = 0) {
      self.request = request
      self.image = image
      buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 4096)
    }

    deinit { buffer.deallocate() }

    func run() {
      do throws(DiskImageError) {
        switch request {
        case .read(let stretch): try image.read(at: stretch.offset, into: buffer)
        case .write(let stretch): try image.write(at: stretch.offset, from: UnsafeRawBufferPointer(buffer))
        case .flush: try image.flush()
        case .discard(let stretches):
          for stretch in stretches { try image.discard(at: stretch.offset, count: stretch.count) }
        case .writeZeroes(let stretches):
          for stretch in stretches {
            try image.writeZeroes(at: stretch.offset, count: stretch.count, mayUnmap: stretch.mayUnmap)
          }
        case .identify, .refused: break
        }
        if flushesAfterwards { try image.flush() }
        status = .done
      } catch {
        image.note(failure: error)
        status = .failed
      }
    }
  }

  // MARK: Device

  public func reset() { resetFunction() }

  /// Returns when nothing is under way.
  public override func pause() {
    super.pause()
    worker.drain()
  }

  private struct Saved: Codable {
    var function: FunctionState
    var hasWriteCache: Bool
  }
  private static let kind = "virtio-blk"
  private static let version = 1

  public func save() throws -> StateSection {
    let saved = Saved(function: functionState, hasWriteCache: core.hasWriteCache)
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try check(saved.function, in: section)
    resetDevice()
    restore(saved.function)
    core.hasWriteCache = saved.hasWriteCache
  }
}
