import Foundation
import Testing

@testable import Devices

/// Keeps the bench of a card under test alive with it.
private final class CardKeeper: @unchecked Sendable {
  static let shared = CardKeeper()
  private let lock = NSLock()
  private var benches: [ObjectIdentifier: AnyObject] = [:]
  func keep(_ card: AnyObject, _ bench: AnyObject) { lock.withLock { benches[ObjectIdentifier(card)] = bench } }
  func bench(of card: AnyObject) -> AnyObject? { lock.withLock { benches[ObjectIdentifier(card)] } }
}

@Suite struct OldCardConformanceTests {
  @Test func everyOldCardPassesTheSharedSuite() throws {
    func make<D: Device>(_ isPCI: Bool) -> () throws -> D {
      {
        let bench = try NE2000Bench(isPCI: isPCI)
        CardKeeper.shared.keep(bench.card, bench)
        return try #require(bench.card as? D)
      }
    }
    func disturb(_ device: AnyObject) {
      guard let bench = CardKeeper.shared.bench(of: device) as? NE2000Bench else { return }
      bench.start()
      bench.send(SampleFrame.ethernet())
      _ = bench.card.receive(SampleFrame.ethernet())
    }
    let devices: [DeviceUnderTest] = [
      DeviceUnderTest("ne2000-pci", make: make(true)) { (card: NE2000PCI) in disturb(card) },
      DeviceUnderTest("ne2000-isa", make: make(false)) { (card: NE2000ISA) in disturb(card) },
      DeviceUnderTest(
        "pcnet",
        make: { () throws -> PCNet in
          let bench = try PCNetBench()
          CardKeeper.shared.keep(bench.card, bench)
          return bench.card
        },
        disturb: { (card: PCNet) in
          guard let bench = CardKeeper.shared.bench(of: card) as? PCNetBench else { return }
          bench.map()
          bench.start()
          bench.send(SampleFrame.ethernet())
          _ = card.receive(SampleFrame.ethernet())
          card.setCarrier(false)
        }),
    ]
    for device in devices { try device.run() }
  }
}
