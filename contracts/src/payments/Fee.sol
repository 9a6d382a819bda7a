// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.13;

import {Ownable} from "../utility/Ownable.sol";

/// @title Fee
/// @notice The protocol fee, in ten-thousandths, and its recipient: the owner of this contract.
/// @dev `updateFee` takes any uint16; the coordinator applies at most 5,000 (the fee is charged on both sides, so 5,000 already
/// takes the whole payment). When the ownership is renounced, fees go to the zero address.
contract Fee is Ownable {
    /// @dev Where the fee stands in the owner's word.
    uint256 private constant FEE_SHIFT = 160;

    /// @notice The fee changed.
    event FeeUpdated(uint16 oldFee, uint16 newFee);

    /// @param feeRecipient who owns this contract and receives the fees
    /// @param fee initial fee in ten-thousandths
    constructor(address feeRecipient, uint16 fee) {
        _ownerWord = uint256(fee) << FEE_SHIFT;
        _setOwner(feeRecipient);
    }

    /// @notice The fee in ten-thousandths.
    function FEE() public view returns (uint16) {
        return uint16(_ownerWord >> FEE_SHIFT);
    }

    /// @notice Who receives the fees.
    function FEE_RECIPIENT() external view returns (address) {
        return owner();
    }

    /// @notice Fee and recipient in one call.
    /// @return fee the fee in ten-thousandths
    /// @return recipient who receives it
    function feeAndRecipient() external view returns (uint16 fee, address recipient) {
        uint256 word = _ownerWord;
        return (uint16(word >> FEE_SHIFT), address(uint160(word)));
    }

    /// @notice Sets the fee; only the owner.
    /// @param newFee fee in ten-thousandths; above 5,000 it counts as 5,000
    function updateFee(uint16 newFee) external onlyOwner {
        emit FeeUpdated(FEE(), newFee);
        _ownerWord = uint160(_ownerWord) | (uint256(newFee) << FEE_SHIFT);
    }
}
