import Machine
import Testing

@testable import Management

@Suite struct NetworkBootTests {
  private func warning(_ settings: [(String, String)]) throws -> String? {
    var definition = VMDefinition(name: "a box")
    for (name, word) in settings { try definition.set(name, [word]) }
    return NetworkBoot.warning(for: definition)
  }

  @Test func whoseCardsCannotBootIsTold() throws {
    #expect(try warning([("nic1", "nat"), ("nic-rom1", "off")]) == nil, "it does not boot from the network")
    #expect(try warning([("boot1", "net"), ("nic1", "nat")]) == nil)
    #expect(try warning([("boot1", "net"), ("nic1", "nat"), ("nic2", "nat"), ("nic-rom1", "off")]) == nil)
    #expect(
      try warning([("boot1", "net"), ("nic2", "nat"), ("nic-rom2", "off")])?
        .hasSuffix("has a boot ROM; give it one with vmctl modifyvm 'a box' --nic-rom2 on") == true)
    #expect(
      try warning([("boot4", "net")])?.hasSuffix(
        "has no network card; give it one with vmctl modifyvm 'a box' --nic1 nat") == true)
    #expect(
      try warning([("boot1", "net"), ("nic1", "nat"), ("nic-type1", "NE2000ISA")])?.contains("of a kind") == true)
  }

  @Test func aNetworkDoesNotChangeUnderItsPortForwards() throws {
    var definition = VMDefinition(name: "box")
    try definition.set("nic1", ["nat"])
    try definition.set("nat-pf1", ["web,tcp,,8080,10.0.2.20,80"])
    try definition.set("nat-pf1", ["ssh,tcp,,2222,,22"])
    let error = #expect(throws: ManagementError.self) { try definition.set("nat-net1", ["10.0.3.0/24"]) }
    #expect(error.map { ManagementError.line(for: $0).contains("10.0.2.20 is not in the network 10.0.3.0/24") } == true)
    try definition.set("nat-pf1", ["delete", "web"])
    try definition.set("nat-net1", ["10.0.3.0/24"])
    try definition.set("nat-pf1", ["web,tcp,,8080,10.0.3.20,80"])
  }
}

@Suite struct SharedAddressesTests {
  private func machine(_ name: String, _ cards: [[String]]) throws -> VMDefinition {
    var definition = VMDefinition(name: name)
    for (index, words) in cards.enumerated() {
      let slot = index + 1
      try definition.set("nic\(slot)", [words[0]])
      try definition.set("mac-address\(slot)", [words[1]])
      if words.count > 2 {
        try definition.set(words[0] == "intnet" ? "intnet\(slot)" : "bridge-adapter\(slot)", [words[2]])
      }
    }
    return definition
  }

  private func warnings(_ definition: VMDefinition, _ others: [VMDefinition]) -> [String] {
    SharedAddresses.warnings(for: definition, among: others) { $0.hasPrefix("tap") ? "br0" : $0 }
  }

  private static let one = "525400000001"
  private static let two = "525400000002"

  @Test func oneAddressTwiceOnOneNetworkIsSaidWithWhatHelps() throws {
    let box = try machine("box", [["intnet", Self.one, "lab"]])
    let copy = try machine("my copy", [["nat", Self.two], ["intnet", Self.one, "lab"]])
    let lines = warnings(copy, [box, copy])
    #expect(lines.count == 1)
    #expect(
      lines.first?.contains("card 2 of \"my copy\"") == true && lines.first?.contains("card 1 of \"box\"") == true)
    #expect(lines.first?.contains("vmctl modifyvm 'my copy' --mac-address2 auto") == true)
    #expect(warnings(box, [box]).isEmpty)
  }

  @Test func twoTapsOfOneBridgeAreOneNetwork() throws {
    let box = try machine("box", [["bridged", Self.one, "tap0"]])
    #expect(warnings(try machine("b", [["bridged", Self.one, "tap1"]]), [box]).count == 1)
    #expect(warnings(try machine("b", [["bridged", Self.one, "br0"]]), [box]).count == 1)
    #expect(warnings(try machine("b", [["bridged", Self.one, "eth1"]]), [box]).isEmpty)
    #expect(warnings(try machine("b", [["bridged", Self.two, "tap1"]]), [box]).isEmpty)
  }

  @Test func twoCardsOfOneMachineAreTold() throws {
    let box = try machine("box", [["intnet", Self.one, "lab"], ["intnet", Self.one, "lab"]])
    #expect(warnings(box, [box]).count == 1)
  }

  @Test func networksOfTheirOwnAndWaitingMachinesAreLeftAlone() throws {
    let nat = try machine("box", [["nat", Self.one]])
    #expect(warnings(try machine("b", [["nat", Self.one]]), [nat]).isEmpty)
    let lab = try machine("box", [["intnet", Self.one, "lab"]])
    #expect(warnings(try machine("b", [["intnet", Self.one, "other"]]), [lab]).isEmpty)
    var target = try machine("b", [["intnet", Self.one, "lab"]])
    try target.set("teleporter", ["on"])
    #expect(warnings(target, [lab]).isEmpty)
    #expect(warnings(lab, [target]).isEmpty)
  }
}
