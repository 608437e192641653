import Foundation
import Testing

@testable import Devices

/// Keeps the bench of a device under test alive with it.
private final class BenchKeeper: @unchecked Sendable {
  static let shared = BenchKeeper()
  private let lock = NSLock()
  private var benches: [ObjectIdentifier: AnyObject] = [:]
  func keep(_ device: AnyObject, _ bench: AnyObject) { lock.withLock { benches[ObjectIdentifier(device)] = bench } }
  func bench(of device: AnyObject) -> AnyObject? { lock.withLock { benches[ObjectIdentifier(device)] } }
}

@Suite struct VirtioConformanceTests {
  private func onBench<D: VirtioPCI & Device>(
    _ name: String, _ make: @escaping () throws -> VirtioBench<D>, _ disturb: @escaping (VirtioBench<D>) -> Void
  ) -> DeviceUnderTest {
    DeviceUnderTest(
      name,
      make: {
        let bench = try make()
        BenchKeeper.shared.keep(bench.device, bench)
        return bench.device
      },
      disturb: { (device: D) in
        guard let bench = BenchKeeper.shared.bench(of: device) as? VirtioBench<D> else { return }
        bench.map()
        disturb(bench)
      })
  }

  @Test func everyVirtioDevicePassesTheSharedSuite() throws {
    let devices: [DeviceUnderTest] = [
      onBench("virtio-net", { try VirtioNetBench.make() }) { bench in
        bench.start(VirtioNetBench.features, size: 16)
        bench.add(2, out: [[0, 0], [0]], room: [1])
        bench.add(2, out: [[1, 1], [2, 3, 4, 5, 6, 7]], room: [1])
        bench.add(2, out: [[2, 0], [7, 0]], room: [1])
        bench.kick(2)
        bench.device.setCarrier(false)
        bench.add(1, out: [VirtioNetBench.headerOnly + SampleFrame.ethernet()])
        bench.kick(1)
      },
      onBench("virtio-blk", { try VirtioBlockBench.make().0 }) { bench in
        bench.start(VirtioBlockBench.allFeatures, size: 64)
        bench.add(0, out: [[UInt8](repeating: 0, count: 16)], room: [512, 1])
        bench.kick(0)
      },
      onBench("virtio-rng", { try VirtioBench(counting: ()) }) { bench in
        bench.start()
        bench.board.configWrite(5, 0, 0x42, 0xC000, size: 2)
        bench.common(0x16, size: 2, write: 0)
        bench.common(0x1A, size: 2, write: 1)
        bench.add(0, out: [], room: [9])
        bench.kick(0)
      },
      onBench(
        "virtio-console",
        {
          try VirtioBench {
            VirtioConsole(memory: $0.memory, ports: $0.ports, clock: $0.time.clock, fabric: $0.fabric)
          }
        }
      ) { bench in
        bench.start()
        bench.device.receive(Array("typed".utf8))
      },
    ]
    for device in devices { try device.run() }
  }
}
